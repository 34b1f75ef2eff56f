"""Commands that move products through the stages."""

from pathlib import Path
from typing import Annotated

import typer

from mmprod.cli.session import ConfigOption, DayOption, JsonOption, LakeOption, Session, WaitOption

TableOption = Annotated[
    Path, typer.Option("--table", help="Product table: a Parquet file, a folder of them, or a CSV.")
]
SnapshotOption = Annotated[
    str | None, typer.Option("--snapshot", help="full: what is not listed is gone; partial: it stays.")
]
ApproveOption = Annotated[
    bool, typer.Option("--approve-removals", help="Allow a day that removes more than the configured share.")
]
ApproveDayOption = Annotated[
    bool, typer.Option("--approve-day", help="Allow a day further ahead of the clock than store.days_ahead.")
]
ProfileOption = Annotated[str | None, typer.Option("--profile", help="Only this profile, not all.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this file to the application."""
    for command in (run, ingest, embed, index, promote, recall, train):
        app.command()(command)


def run(
    day: DayOption,
    table: TableOption,
    snapshot: SnapshotOption = None,
    approve_removals: ApproveOption = False,
    approve_day: ApproveDayOption = False,
    wait: WaitOption = False,
    config: ConfigOption = None,
    lake: LakeOption = None,
    json: JsonOption = False,
) -> None:
    """Take one day's product table all the way: store, embeddings, indexes, recall tables.

    Safe to run again at any time: what is done is not done twice.

    Example: mmprod run --day 2024-05-01 --table products.parquet
    """
    session = Session(config, lake, json, {"table.snapshot": snapshot})
    from mmprod.stages.daily.run import run_day

    with session.lake.writing(wait), session.watching() as watch:
        outcomes = run_day(
            *(session.lake, session.config, table, day.date(), approve_removals, watch),
            approve_day=approve_day,
        )
    session.outcomes(outcomes, f"{day.date()}  {table}")


def ingest(
    day: DayOption,
    table: TableOption,
    snapshot: SnapshotOption = None,
    approve_removals: ApproveOption = False,
    approve_day: ApproveDayOption = False,
    wait: WaitOption = False,
    config: ConfigOption = None,
    lake: LakeOption = None,
    json: JsonOption = False,
) -> None:
    """Product table → store: what was added, changed, removed; bad rows are set aside with their reason.

    Example: mmprod ingest --day 2024-05-01 --table products.csv --snapshot partial
    """
    session = Session(config, lake, json, {"table.snapshot": snapshot})
    from mmprod.stages.daily.ingest import ingest_table

    with session.lake.writing(wait), session.watching() as watch, session.store(read_only=False) as store:
        outcome = ingest_table(
            *(session.lake, session.config, store, table, day.date(), approve_removals, watch),
            approve_day=approve_day,
        )
    session.outcomes([outcome], f"{day.date()}  {table}")


def embed(
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Also try the pictures again that could not be encoded.")
    ] = False,
    shard: Annotated[
        int | None,
        typer.Option("--shard", min=0, help="Only encode this shard, beside the table; may run in parallel."),
    ] = None,
    candidate: Annotated[
        str | None,
        typer.Option(
            "--candidate", help="With this encoder (lake:NAME without lake:), beside the one in use."
        ),
    ] = None,
    wait: WaitOption = False,
    config: ConfigOption = None,
    lake: LakeOption = None,
    json: JsonOption = False,
) -> None:
    """Store → embedding table: encode only the pictures and titles that changed.

    What shards were encoded on their own before is taken in. With engine = "ray" a shard is encoded by a job
    on the Ray cluster, followed from here. A candidate's vectors are in use after `mmprod encoder promote`.

    Examples: mmprod embed --retry-failed

    mmprod embed --shard 0

    mmprod embed --candidate retrieval
    """
    session = Session(config, lake, json)
    if candidate:
        session.lake.succession(session.config.encoder.model, candidate)
    if shard is not None and session.config.engine == "ray":
        _submit_shard(session, config, shard, candidate, wait)
        return
    if shard is not None:
        _embed_shard(session, shard, candidate, wait)
        return
    from mmprod.stages.daily.embed import bring_up

    with session.lake.writing(wait), session.watching() as watch, session.store() as store:
        outcome = bring_up(session.lake, session.config, store, watch, retry_failed, candidate)
    session.outcomes([outcome])


def _embed_shard(session: Session, shard: int, candidate: str | None, wait: bool) -> None:
    from mmprod.stages.daily.embed import shard_encoded

    with session.lake.attempting(), session.watching() as watch, session.store() as store:
        outcome = shard_encoded(session.lake, session.config, store, shard, candidate)
        if outcome is None:
            from mmprod.datasets.embeddings.scope import follow
            from mmprod.stages.daily.embed import embed_shard, open_embeddings
            from mmprod.stages.encoder import load_encoder

            encoder = load_encoder(session.lake, session.config, candidate=candidate)
            with session.lake.writing(wait):  # makes the table, or begins it anew for other categories
                table = open_embeddings(session.lake, session.config, encoder)
                follow(session.config.encoder.categories, store, table)
            outcome = embed_shard(session.config, store, table, encoder, shard, watch)
    session.outcomes([outcome])


def _submit_shard(
    session: Session, config: Path | None, shard: int, candidate: str | None, wait: bool
) -> None:
    """A job for just these changes under just this encoder: what came later is another's work."""
    from mmprod.cli.remote import submit
    from mmprod.lake import LAKE_ENCODER

    model = LAKE_ENCODER + candidate if candidate else session.config.encoder.model
    encoder = session.lake.encoder_name(model)
    with session.store() as store:
        head = store.head()
    words = ["embed", "--shard", str(shard), *(["--wait"] if wait else [])]
    words += ["--candidate", candidate] if candidate else []
    decisive = f"{encoder} {session.config.encoder.categories} {shard} {head[shard : shard + 1]}"
    submit(session, config, f"embed-{shard}", words, decisive)


def index(
    profile: ProfileOption = None,
    hold: Annotated[
        bool, typer.Option("--hold", help="Build and check only; `mmprod promote` puts it in use.")
    ] = False,
    wait: WaitOption = False,
    config: ConfigOption = None,
    lake: LakeOption = None,
    json: JsonOption = False,
) -> None:
    """Embedding table → fused Faiss index per profile; a new one goes live only if it passes its gate.

    Example: mmprod index --profile selection
    """
    session = Session(config, lake, json)
    from mmprod.stages.daily.embed import read_embeddings
    from mmprod.stages.daily.index import build_indexes

    with session.lake.writing(wait), session.store() as store:
        table = read_embeddings(session.lake, session.config)
        names = [profile] if profile else list(session.config.profiles)
        outcomes = build_indexes(session.lake, session.config, store, table, names, hold)
    session.outcomes(outcomes)


def promote(
    profile: Annotated[
        list[str] | None, typer.Option("--profile", help="Only this profile; repeatable; else all.")
    ] = None,
    wait: WaitOption = False,
    config: ConfigOption = None,
    lake: LakeOption = None,
    json: JsonOption = False,
) -> None:
    """Put the latest indexes that were built in use, all together; none if one did not pass its gate.

    Example: mmprod promote --profile same_item --profile similar_item
    """
    session = Session(config, lake, json)
    from mmprod.stages.daily.index import promote_indexes

    names = profile or list(session.config.profiles)
    for name in names:
        session.config.profile(name)
    with session.lake.writing(wait):
        outcome = promote_indexes(session.lake, names)
    session.outcomes([outcome])


def recall(
    profile: ProfileOption = None,
    wait: WaitOption = False,
    config: ConfigOption = None,
    lake: LakeOption = None,
    json: JsonOption = False,
) -> None:
    """Index → recall table: every product's nearest neighbours, as Parquet.

    Example: mmprod recall --profile same_item
    """
    session = Session(config, lake, json)
    from mmprod.stages.daily.recall import build_recall

    names = [profile] if profile else session.config.recall.profiles
    with session.lake.writing(wait), session.watching() as watch:
        outcomes = [build_recall(session.lake, session.config, name, watch) for name in names]
    session.outcomes(outcomes)


def train(
    table: TableOption,
    steps: Annotated[
        int | None, typer.Option("--steps", min=1, help="Training steps; as many as fit into --seconds.")
    ] = None,
    seconds: Annotated[float, typer.Option("--seconds", min=1, help="Time for them, about.")] = 120,
    batch: Annotated[int, typer.Option("--batch-size", min=2, help="Pairs a step.")] = 128,
    rate: Annotated[float, typer.Option("--lr", min=1e-6, max=1.0, help="Peak learning rate.")] = 1.5e-3,
    seed: Annotated[int, typer.Option("--seed", help="Random seed.")] = 0,
    wait: WaitOption = False,
    config: ConfigOption = None,
    lake: LakeOption = None,
    json: JsonOption = False,
) -> None:
    """Train the small encoder from scratch on a table's pictures and titles (a minute or two).

    Example: mmprod train --table products.parquet --seconds 120
    """
    session = Session(config, lake, json)
    from mmprod.encoders.train import Plan
    from mmprod.stages.encoder import train_encoder

    plan = Plan(steps=steps, seconds=seconds, batch=batch, learning_rate=rate, seed=seed)
    with session.lake.writing(wait), session.watching() as watch:
        outcome = train_encoder(session.lake, session.config, table, plan, watch)
    session.outcomes([outcome])
