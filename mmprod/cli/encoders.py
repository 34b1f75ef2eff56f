"""Commands about a candidate encoder: compare it with the one in use, put it in its place, go back."""

from typing import Annotated

import typer

from mmprod.cli.session import ConfigOption, FromOption, JsonOption, LakeOption, Session, WaitOption
from mmprod.storage.errors import InputError

encoder = typer.Typer(no_args_is_help=True, help="A candidate encoder beside the one in use.")

CandidateArgument = Annotated[str, typer.Argument(help="The candidate: lake:NAME without lake:.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this file to the application."""
    app.add_typer(encoder, name="encoder")


@encoder.command()
def compare(
    candidate: CandidateArgument,
    products: Annotated[int, typer.Option("--products", min=2, help="Size of the sample.")] = 1000,
    config: ConfigOption = None,
    lake: LakeOption = None,
    json: JsonOption = False,
) -> None:
    """Embed a sample with both encoders, beside the lake: who finds pictures better, do neighbours change.

    Example: mmprod encoder compare retrieval --products 500
    """
    session = Session(config, lake, json)
    from mmprod.stages.encoder import load_encoder
    from mmprod.stages.training.promotion import compare_encoders

    other = load_encoder(session.lake, session.config, candidate=candidate)
    current = load_encoder(session.lake, session.config)
    with session.store() as store, session.watching() as watch:
        advance = watch("compare", 2 * products)
        found = compare_encoders(session.config, store, current, other, products, advance)
    sides = (("current", found.current), ("candidate", found.candidate))
    rows = [(name, side.encoder[:12], side.recall_1, side.recall_10) for name, side in sides]
    told = {f"{name}_{key}": value for name, side in sides for key, value in vars(side).items()}
    headings = ("encoder", "", "title finds its picture first", "among ten")
    title = f"{found.products} products, {found.overlap:.0%} of ten neighbours alike"
    session.table(title, headings, rows, {"products": found.products, "overlap": found.overlap, **told})


@encoder.command()
def promote(
    candidate: CandidateArgument,
    wait: WaitOption = False,
    config: ConfigOption = None,
    lake: LakeOption = None,
    json: JsonOption = False,
) -> None:
    """Put a candidate in the place of the configured encoder; indexes follow by `mmprod index`.

    Its vectors are brought up to the store first; `mmprod embed --candidate` does most of that beforehand, in
    shards if wanted, while nightly runs go on.

    Example: mmprod encoder promote retrieval
    """
    session = Session(config, lake, json)
    from mmprod.stages.training.promotion import promote_encoder

    with session.lake.writing(wait), session.watching() as watch, session.store() as store:
        outcomes = promote_encoder(session.lake, session.config, store, candidate, watch)
    session.outcomes(outcomes)


@encoder.command()
def rollback(
    generation: Annotated[str | None, typer.Argument(help="Where to; the one before by default.")] = None,
    only_from: FromOption = None,
    wait: WaitOption = False,
    config: ConfigOption = None,
    lake: LakeOption = None,
    json: JsonOption = False,
) -> None:
    """Let an earlier generation of the configured encoder be the current one again; it is verified first.

    Example: mmprod encoder rollback
    """
    session = Session(config, lake, json)
    from mmprod.lake import LAKE_ENCODER

    model = session.config.encoder.model
    if not model.startswith(LAKE_ENCODER):
        raise InputError(f"encoder.model is {model!r}: only lake: encoders have generations")
    root = session.lake.encoder(model.removeprefix(LAKE_ENCODER))
    now = session.lake.go_back(root, generation, only_from, wait)
    session.show({"encoder": model, "generation": now}, f"{model} is {now}")
