"""`mmprod train`: trains the small encoder from scratch."""

from typing import Annotated

import typer

from mmprod.cli.options import TableOption, WaitOption, with_session
from mmprod.cli.session import Session


@with_session()
def train(
    session: Session,
    table: TableOption,
    steps: Annotated[
        int | None,
        typer.Option("--steps", min=1, help="Training steps; default: as many as fit into --seconds."),
    ] = None,
    seconds: Annotated[float, typer.Option("--seconds", min=1, help="Approximate training time.")] = 120,
    batch: Annotated[int, typer.Option("--batch-size", min=2, help="Pairs per step.")] = 128,
    rate: Annotated[float, typer.Option("--lr", min=1e-6, max=1.0, help="Peak learning rate.")] = 1.5e-3,
    seed: Annotated[int, typer.Option("--seed", help="Random seed.")] = 0,
    wait: WaitOption = False,
) -> None:
    """Train the small encoder from scratch on a table's pictures and titles (a minute or two).

    Example: mmprod train --table products.parquet --seconds 120
    """
    from mmprod.encoders.train import Plan
    from mmprod.stages.training.train import train_encoder

    plan = Plan(steps=steps, seconds=seconds, batch=batch, learning_rate=rate, seed=seed)
    with session.lake.writing(wait), session.progress() as progress:
        outcome = train_encoder(session.lake, session.config, table, plan, progress)
    session.outcomes([outcome])
