"""Commands that look into the product store."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from mmprod.cli.session import ConfigOption, DayOption, JsonOption, LakeOption, Session, WaitOption
from mmprod.storage.errors import InputError

app = typer.Typer(no_args_is_help=True, help="The LMDB product store.")


@app.command()
def stats(
    placeholders: Annotated[
        int | None,
        typer.Option("--placeholders", min=2, help="Also list pictures that so many products share."),
    ] = None,
    config: ConfigOption = None,
    lake: LakeOption = None,
    json: JsonOption = False,
) -> None:
    """How many products and pictures there are and the room they take.

    Example: mmprod store stats --placeholders 50
    """
    session = Session(config, lake, json)
    with session.store() as store:
        content = asdict(store.stats())
        if placeholders:
            shared = store.placeholder_hashes(placeholders)
            content["placeholders"] = {picture.hex(): products for picture, products in shared.items()}
    session.table("store", ("", ""), [(key, str(value)) for key, value in content.items()], content)


@app.command()
def get(
    product_id: Annotated[str, typer.Argument(help="The product's id.")],
    picture: Annotated[Path | None, typer.Option("--picture", help="Write its picture to this file.")] = None,
    config: ConfigOption = None,
    lake: LakeOption = None,
    json: JsonOption = False,
) -> None:
    """A product as known now.

    Example: mmprod store get D000123 --picture lamp.jpg
    """
    session = Session(config, lake, json)
    with session.store() as store:
        record = store.get(product_id)
        if record is None:
            raise InputError(f"the store has no product {product_id!r}")
        data = store.picture(record.image_hash) if picture else None
    if picture:
        if data is None:
            raise InputError(
                f"product {product_id!r} has no picture ({record.image_reason or 'none was given'})"
            )
        picture.write_bytes(data)
    content = {k: v.hex() if isinstance(v, bytes) else v for k, v in asdict(record).items()}
    session.table(product_id, ("", ""), [(k, str(v)) for k, v in content.items()], content)


@app.command()
def verify(config: ConfigOption = None, lake: LakeOption = None, json: JsonOption = False) -> None:
    """Check every stored value against its checksum and the databases against each other.

    Example: mmprod store verify
    """
    session = Session(config, lake, json)
    with session.store() as store:
        problems = list(store.verify())
    session.show({"problems": problems}, "\n".join(problems) or "every value is as it was written")
    if problems:
        raise typer.Exit(1)


@app.command()
def compact(
    wait: WaitOption = False, config: ConfigOption = None, lake: LakeOption = None, json: JsonOption = False
) -> None:
    """Give back free pages and drop pictures that no product shows any more.

    Example: mmprod store compact
    """
    session = Session(config, lake, json)
    from mmprod.stages.daily.ingest import compact_store

    with session.lake.writing(wait):
        before, after = compact_store(session.lake, session.config)
    content = {"bytes_before": before, "bytes_after": after}
    session.show(content, f"{before / 1e6:,.1f} MB before, {after / 1e6:,.1f} MB after")


@app.command("undo-day")
def undo_day(
    day: DayOption,
    wait: WaitOption = False,
    config: ConfigOption = None,
    lake: LakeOption = None,
    json: JsonOption = False,
) -> None:
    """Take back what the day ingested last did, as if it had never come: a mistyped day, a wrong table.

    The last three days can be taken back, newest first. The next run brings embeddings and indexes up.

    Example: mmprod store undo-day --day 2205-03-03
    """
    session = Session(config, lake, json)
    with session.store():
        pass  # where there is none, a writer would make one
    with session.lake.writing(wait), session.store(read_only=False) as store:
        touched = store.undo_day(day.date())
    content = {"day": day.date().isoformat(), "products": touched}
    session.show(content, f"{day.date()} is taken back: {touched:,} products are as they were before")


@app.command()
def backup(
    folder: Annotated[Path, typer.Argument(help="Where the copies lie, best on another disk.")],
    keep: Annotated[int, typer.Option("--keep", min=1, help="Copies to keep, the newest.")] = 7,
    wait: WaitOption = False,
    config: ConfigOption = None,
    lake: LakeOption = None,
    json: JsonOption = False,
) -> None:
    """Copy the store, read the copy back, and remove the oldest copies.

    Example: mmprod store backup backups --keep 7
    """
    session = Session(config, lake, json)
    from mmprod.stages.daily.ingest import backup_store

    with session.lake.writing(wait):
        copy, removed = backup_store(session.lake, session.config, folder, keep)
    content = {"path": str(copy), "removed": [str(path) for path in removed]}
    session.show(content, f"{copy}; {len(removed)} older removed")


@app.command()
def export(
    path: Annotated[Path, typer.Argument(help="Parquet file to write; it can be ingested again.")],
    config: ConfigOption = None,
    lake: LakeOption = None,
    json: JsonOption = False,
) -> None:
    """Write the live products as a product table.

    Example: mmprod store export products.parquet
    """
    session = Session(config, lake, json)
    with session.store() as store:
        rows = store.export(path)
    session.show({"rows": rows, "path": str(path)}, f"{rows:,} products written to {path}")
