"""Commands that answer questions from the current index."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from mmprod.cli.session import ConfigOption, JsonOption, LakeOption, Session
from mmprod.storage.errors import InputError

if TYPE_CHECKING:
    from mmprod.datasets.store.store import Store
    from mmprod.stages.search.search import Found


def register(app: typer.Typer) -> None:
    """Add the commands of this file to the application."""
    app.command()(search)
    app.command()(similarity)


def search(
    query: Annotated[
        list[str] | None, typer.Argument(help="What to look for, in words; several texts are added.")
    ] = None,
    picture: Annotated[
        list[Path] | None, typer.Option("--picture", help="A picture file to look for; repeatable.")
    ] = None,
    without: Annotated[
        list[str] | None, typer.Option("--without", help="A text that should not fit; repeatable.")
    ] = None,
    without_picture: Annotated[
        list[Path] | None, typer.Option("--without-picture", help="A picture that should not fit.")
    ] = None,
    product: Annotated[str | None, typer.Option("--product", help="Neighbours of this product id.")] = None,
    profile: Annotated[
        str | None, typer.Option("--profile", help="selection for a text, same_item for a product.")
    ] = None,
    category: Annotated[
        str | None, typer.Option("--category", help='Only this category, e.g. "Home > Lighting".')
    ] = None,
    top: Annotated[int, typer.Option("--top", "-k", help="How many products.")] = 10,
    min_score: Annotated[
        str | None,
        typer.Option("--min-score", help="Only from this score on; labels: from the one they suggest."),
    ] = None,
    fold: Annotated[
        bool, typer.Option("--fold/--no-fold", help="Show near copies (one picture, one group) as one.")
    ] = True,
    rerank: Annotated[
        int, typer.Option("--rerank", min=0, help="Order the first so many by BLIP's look at each picture.")
    ] = 0,
    out: Annotated[
        Path | None,
        typer.Option("--out", help="Write the list to an .xlsx, .csv, .parquet or .html (with pictures)."),
    ] = None,
    config: ConfigOption = None,
    lake: LakeOption = None,
    json: JsonOption = False,
) -> None:
    """Find products whose pictures fit a text, or the neighbours of a product.

    Examples: mmprod search "red dress" --top 20

    mmprod search 极简风客厅灯 --category "Home > Lighting" --out lamps.csv

    mmprod search --product D000123 --profile similar_item

    mmprod search mug --without red --min-score 0.3

    mmprod search --picture lamp.jpg "made of wood"

    mmprod search "red dress" --rerank 50
    """
    from mmprod.stages.search.query import Query

    wanted = Query(query or (), picture or (), without or (), without_picture or ())
    if bool(wanted.towers) == (product is not None):
        raise InputError('say what to look for: either a text, "red dress", or --picture, or --product ID')
    session = Session(config, lake, json)
    profile = profile or ("selection" if product is None else "same_item")
    session.config.profile(profile)
    from dataclasses import asdict

    from mmprod.stages.daily.groups import read_groups
    from mmprod.stages.daily.index import encoder_of
    from mmprod.stages.encoder import load_encoder, load_query_encoder
    from mmprod.stages.search.search import Wish, search_near, search_vector

    name = str(wanted) if product is None else f"like {product}"
    with session.store() as store:
        fingerprint, depth = encoder_of(session.lake, profile), max(top, rerank)
        least = _least(session, min_score, profile, fingerprint)
        wish = Wish(depth, category, least, read_groups(session.lake) if fold else None)
        blip = load_encoder(session.lake, session.config, fingerprint) if rerank else None
        if product is None:
            encoder = blip or load_query_encoder(session.lake, session.config, fingerprint, wanted.towers)
            vector = wanted.vector(encoder, session.config.images.max_pixels)
            found = search_vector(session.lake, store, vector, fingerprint, profile, wish)
        else:
            found = search_near(session.lake, store, product, profile, wish)
        if blip:
            from mmprod.stages.search.rerank import rerank as look_again
            from mmprod.stages.search.rerank import title_of

            text = " ".join(wanted.texts) or title_of(store, product or "")
            found = look_again(session.config, store, blip, text, found, rerank)
        found = found[:top]
        if out:
            _take_away(store, name, found, out)
    headings = (
        "",
        "score",
        "picture",
        "title",
        *(["match"] if rerank else []),
        "product",
        "",
        "",
        "category",
    )
    rows: list[tuple[object, ...]] = []
    for f in found:
        scores = (f.score, f.image_score, f.text_score, *([f.match_score] if rerank else []))
        more = f"+{f.more} more" if f.more else ""
        rows.append((f.rank, *scores, f.product_id, more, f.title[:60], f.category))
    session.table(name, headings, rows, {"results": [asdict(f) for f in found]})
    if out:
        typer.echo(f"written to {out}", err=True)


def _least(
    session: Session, min_score: str | None, profile: str, fingerprint: str
) -> "float | Mapping[str, float | None]":
    """The score from which on products are shown: a number, or by category what labels suggest."""
    if min_score is None:
        return {}
    if min_score != "labels":
        try:
            return float(min_score)
        except ValueError as error:
            raise InputError(f"--min-score is {min_score!r}, want a number or the word labels") from error
    from mmprod.stages.online.release import thresholds

    if not (found := thresholds(session.lake, session.config, profile, fingerprint)):
        raise InputError(
            f"no labels of profile {profile} suggest a score: review it first (`mmprod review sample`), set "
            f"serving.thresholds.{profile}, or give a number"
        )
    return found


def _take_away(store: "Store", title: str, found: "Sequence[Found]", out: Path) -> None:
    if out.suffix == ".html":
        from mmprod.report.lake import search_page
        from mmprod.report.page import save

        save(search_page(store, title, found), out)
    else:
        from mmprod.stages.search.lists import write_list
        from mmprod.stages.search.search import as_table

        write_list(as_table(found), out)


def similarity(
    a: Annotated[str, typer.Argument(help='A product id; with --online also @photo.jpg or "title:red mug".')],
    b: Annotated[str, typer.Argument(help="Another one.")],
    online: Annotated[bool, typer.Option("--online", help="Ask the running service.")] = False,
    server: Annotated[
        str | None, typer.Option("--server", help="The service's address; that of this lake's server.")
    ] = None,
    config: ConfigOption = None,
    lake: LakeOption = None,
    json: JsonOption = False,
) -> None:
    """How alike two products are: picture, title, each profile's score; with a BLIP also whether titles fit.

    Examples: mmprod similarity D000012 D000083

    mmprod similarity D000012 "title:red mug" --online

    mmprod similarity @photo.jpg D000083 --online --server 127.0.0.1:8000
    """
    session = Session(config, lake, json)
    if online:
        _compare_online(session, a, b, server)
        return
    if server:
        raise InputError(f"--server {server} is asked with --online only")
    from dataclasses import asdict

    from mmprod.stages.search.similarity import load_comparing_encoder
    from mmprod.stages.search.similarity import similarity as compare

    with session.store() as store:
        encoder = load_comparing_encoder(session.lake, session.config)
        found = compare(session.config, store, encoder, a, b)
    rows = [("picture", found.image), ("title", found.text), *found.profiles.items()]
    if found.match_ab is not None:
        rows.append((f"match: title of {a}, picture of {b}", found.match_ab))
        rows.append((f"match: title of {b}, picture of {a}", found.match_ba))
    session.table(f"{a} and {b}", ("", "score"), rows, asdict(found))


def _compare_online(session: Session, a: str, b: str, server: str | None) -> None:
    """Show what the service says of two products under each profile that it serves."""
    from mmprod.serving.client import Client
    from mmprod.stages.online.compare import compare, running, side

    sides = (side(a), side(b))
    with Client(server or running(session.lake)) as client:
        found = compare(client, *sides, session.config.serving.profiles)
    numbers = ("score", "image_score", "text_score", "threshold")
    rows = [(name, *(told[number] for number in numbers), told["verdict"]) for name, told in found.items()]
    headings = ("", "score", "picture", "title", "threshold", "verdict")
    session.table(f"{a} and {b}", headings, rows, {"a": a, "b": b, "profiles": found})
