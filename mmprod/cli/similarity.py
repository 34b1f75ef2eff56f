"""`mmprod similarity`: how alike two products are."""

from dataclasses import asdict
from typing import Annotated

import typer

from mmprod.cli.options import with_session
from mmprod.cli.session import Session
from mmprod.storage.errors import InputError


@with_session()
def similarity(
    session: Session,
    a: Annotated[str, typer.Argument(help='A product id; with --online also @photo.jpg or "title:red mug".')],
    b: Annotated[str, typer.Argument(help="The other product.")],
    online: Annotated[bool, typer.Option("--online", help="Query the running online service.")] = False,
    server: Annotated[
        str | None, typer.Option("--server", help="The service's address; default: this lake's server.")
    ] = None,
) -> None:
    """Compare two products: cosines of pictures and titles, scores of each profile, and BLIP's match.

    Examples: mmprod similarity D000012 D000083

    mmprod similarity D000012 "title:red mug" --online

    mmprod similarity @photo.jpg D000083 --online --server 127.0.0.1:8000
    """
    if server and not online:
        raise InputError(f"--server {server} needs --online: give both")
    from mmprod.reader import Reader
    from mmprod.stages.online.compare import compare_online
    from mmprod.stages.search.similarity import similarity as compare

    if online:
        profiles = compare_online(session.lake, session.config, a, b, server)
        numbers = ("score", "image_score", "text_score", "threshold")
        scores = [(name, *(told[n] for n in numbers), told["verdict"]) for name, told in profiles.items()]
        headings = ("", "score", "picture", "title", "threshold", "verdict")
        session.table(f"{a} and {b}", headings, scores, {"a": a, "b": b, "profiles": profiles})
        return
    with Reader(session.lake, session.config) as reader:
        found = compare(session.config, reader.store, reader.comparing_encoder(), a, b)
    rows = [("picture", found.image), ("title", found.text), *found.profiles.items()]
    if found.match_ab is not None:
        rows.append((f"match: title of {a}, picture of {b}", found.match_ab))
        rows.append((f"match: title of {b}, picture of {a}", found.match_ba))
    session.table(f"{a} and {b}", ("", "score"), rows, asdict(found))
