"""`mmprod encoder`: list the lake's encoders; compare, promote and roll back a candidate."""

from typing import Annotated

import typer

from mmprod.cli.generations import show_listed
from mmprod.cli.options import EarlierArgument, FromOption, WaitOption, with_session
from mmprod.cli.session import Session
from mmprod.storage.errors import InputError

app = typer.Typer(
    name="encoder",
    no_args_is_help=True,
    help="The lake's encoders, and candidates to replace the one in use.",
)

CandidateArgument = Annotated[str, typer.Argument(help="The candidate: lake:NAME without lake:.")]


@app.command("list")
@with_session()
def list_(session: Session) -> None:
    """List the lake's encoders and their generations, and which one is in use.

    Example: mmprod encoder list
    """
    from mmprod.stages.generations import encoders

    title = f"encoder.model = {session.config.encoder.model}"
    show_listed(session, title, encoders(session.lake, session.config))


@app.command()
@with_session()
def compare(
    session: Session,
    candidate: CandidateArgument,
    products: Annotated[int, typer.Option("--products", min=2, help="Size of the sample.")] = 1000,
) -> None:
    """Compare a candidate with the configured encoder on a sample: accuracy, and how many neighbours change.

    Changes nothing in the lake.

    Example: mmprod encoder compare retrieval --products 500
    """
    from mmprod.stages.encoder import load_encoder, open_encoder
    from mmprod.stages.training.promotion import compare_encoders

    other = load_encoder(session.lake, session.config, candidate=candidate)
    current = open_encoder(session.lake, session.config)
    with session.store() as store, session.progress() as progress:
        advance = progress("compare", 2 * products)
        found = compare_encoders(session.config, store, current, other, products, advance)
    sides = (("current", found.current), ("candidate", found.candidate))
    rows = [(name, side.encoder[:12], side.recall_1, side.recall_10) for name, side in sides]
    told = {f"{name}_{key}": value for name, side in sides for key, value in vars(side).items()}
    headings = ("encoder", "", "title finds its picture first", "among ten")
    title = f"{found.products} products, {found.overlap:.0%} of ten neighbours alike"
    session.table(title, headings, rows, {"products": found.products, "overlap": found.overlap, **told})


@app.command()
@with_session()
def backend(
    session: Session,
    measure: Annotated[
        bool, typer.Option("--measure", help="Measure again on products of the store, and use the figures.")
    ] = False,
    wait: WaitOption = False,
) -> None:
    """Show what encodes products on this machine (encoder.backend), and the figures it was chosen by.

    Pictures and titles a second are of this process's time on one core, on a GPU of the clock. Cosines are
    the worst with torch in fp32, also centred: without what all vectors have in common.

    Examples: mmprod encoder backend

    mmprod encoder backend --measure
    """
    from mmprod.stages.backend import fingerprint_of, in_use, measure_again, measured_before

    if measure:
        with session.lake.writing(wait), session.progress() as progress, session.store() as store:
            measure_again(session.lake, session.config, store, progress)
    found = measured_before(session.lake, session.config, fingerprint_of(session.lake, session.config))
    chosen, why = in_use(session.config, found)
    told = {"backend": chosen, "why": why, "figures": found and found.to_dict()}
    if found is None:
        session.show(told, f"{chosen}: {why}")
        return
    headings = ("backend", "pictures/s", "titles/s", "image", "centred", "text", "centred", "")
    session.table(f"{chosen}: {why}", headings, found.rows(session.config), told)


@app.command()
@with_session()
def promote(session: Session, candidate: CandidateArgument, wait: WaitOption = False) -> None:
    """Replace the configured encoder by a candidate; then rebuild the indexes with `mmprod index build`.

    Products that the candidate has not yet encoded are encoded first. `mmprod embed --candidate` does most of
    that beforehand, by shard if wanted, while nightly runs go on.

    Example: mmprod encoder promote retrieval
    """
    from mmprod.stages.training.promotion import promote_encoder

    with session.lake.writing(wait), session.progress() as progress, session.store() as store:
        outcomes = promote_encoder(session.lake, session.config, store, candidate, progress)
    session.outcomes(outcomes)


@app.command()
@with_session()
def rollback(
    session: Session,
    generation: EarlierArgument = None,
    only_from: FromOption = None,
    wait: WaitOption = False,
) -> None:
    """Switch the configured encoder back to an earlier generation, which is verified first.

    Example: mmprod encoder rollback
    """
    from mmprod.lake import LAKE_ENCODER

    model = session.config.encoder.model
    if not model.startswith(LAKE_ENCODER):
        raise InputError(f"encoder.model is {model!r}: only lake: encoders have generations")
    root = session.lake.encoder(model.removeprefix(LAKE_ENCODER))
    now = session.lake.go_back(root, generation, only_from, wait)
    session.show({"encoder": model, "generation": now}, f"{model} is {now}")
