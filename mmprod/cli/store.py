"""`mmprod store`: inspects and maintains the product store."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from mmprod.cli.options import DayOption, WaitOption, with_session
from mmprod.cli.session import Session
from mmprod.storage.errors import InputError

app = typer.Typer(name="store", no_args_is_help=True, help="The LMDB product store.")


@app.command()
@with_session()
def stats(
    session: Session,
    placeholders: Annotated[
        int | None,
        typer.Option(
            "--placeholders", min=2, help="Also list pictures that at least this many products share."
        ),
    ] = None,
) -> None:
    """Show the number of products and pictures and their size.

    Example: mmprod store stats --placeholders 50
    """
    with session.store() as store:
        content = asdict(store.stats())
        if placeholders:
            shared = store.placeholder_hashes(placeholders)
            content["placeholders"] = {picture.hex(): products for picture, products in shared.items()}
    session.table("store", ("", ""), [(key, str(value)) for key, value in content.items()], content)


@app.command()
@with_session()
def get(
    session: Session,
    product_id: Annotated[str, typer.Argument(help="The product's id.")],
    picture: Annotated[Path | None, typer.Option("--picture", help="Write its picture to this file.")] = None,
) -> None:
    """Show the stored data of a product.

    Example: mmprod store get D000123 --picture lamp.jpg
    """
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
@with_session()
def verify(session: Session) -> None:
    """Check every stored value against its checksum and the databases against each other.

    Example: mmprod store verify
    """
    with session.store() as store:
        problems = list(store.verify())
    session.problems(problems, "every value is as it was written")


@app.command()
@with_session()
def compact(session: Session, wait: WaitOption = False) -> None:
    """Free unused pages and delete pictures that no product refers to.

    Example: mmprod store compact
    """
    from mmprod.stages.store import compact_store

    with session.lake.writing(wait):
        before, after = compact_store(session.lake, session.config)
    content = {"bytes_before": before, "bytes_after": after}
    session.show(content, f"{before / 1e6:,.1f} MB before, {after / 1e6:,.1f} MB after")


@app.command("migrate")
@with_session()
def migrate(session: Session, wait: WaitOption = False) -> None:
    """Bring a store of an earlier version to the present format.

    The new store is written beside the old one, verified, compared with it product by product, and only then
    put in its place. The old one is kept; remove it when you are content.

    Example: mmprod store migrate
    """
    from mmprod.stages.store import migrate_store

    with session.lake.writing(wait), session.progress() as progress:
        count, old = migrate_store(session.lake, session.config, progress("migrate", None))
    content = {"products": count, "before": str(old) if old else None}
    done = f"{count:,} products migrated; the store as it was is kept in {old}"
    session.show(content, done if old else "the store has the present format already")


@app.command("reshard")
@with_session()
def reshard(
    session: Session,
    shards: Annotated[int, typer.Argument(min=1, max=4096, help="The new number of shards.")],
    keep: Annotated[bool, typer.Option("--keep", help="Keep the old store beside the new one.")] = False,
    wait: WaitOption = False,
) -> None:
    """Give the store another number of shards: LMDB files that are written and encoded in parallel.

    The new store is written beside the old one, verified, compared with it product by product, and only then
    put in its place. Nothing is encoded again. Days ingested before can't be undone afterwards.

    Example: mmprod store reshard 8 --keep
    """
    from mmprod.stages.store import reshard_store

    with session.lake.writing(wait), session.progress() as progress:
        done = reshard_store(session.lake, session.config, shards, progress, keep)
    content = {**done._asdict(), "shards": shards, "again": [str(root) for root in done.again]}
    told = [f"{done.products:,} products in {shards} shards, before in {done.before}"]
    told += [f"the store as it was is kept in {done.kept}"] * bool(done.kept)
    told += [f"{root} was behind the store: `mmprod embed` looks at all products" for root in done.again]
    if session.config.store.shards not in ("auto", shards):
        told += [f'set store.shards to {shards} or "auto": it is {session.config.store.shards}']
    session.show(content, "; ".join(told))


@app.command("undo-day")
@with_session()
def undo_day(
    session: Session,
    day: DayOption,
    wait: WaitOption = False,
) -> None:
    """Undo the day that was ingested last, e.g. a mistyped day or a wrong table.

    The store is then as if the day had never been ingested. The last three days can be undone, newest first.
    The next run updates embeddings and indexes.

    Example: mmprod store undo-day --day 2205-03-03
    """
    with session.store():
        pass  # raises if there is no store; opening for writing would create one
    with session.lake.writing(wait), session.store(read_only=False) as store:
        touched = store.undo_day(day.date())
    content = {"day": day.date().isoformat(), "products": touched}
    session.show(content, f"{day.date()} is undone: {touched:,} products are as they were before")


@app.command()
@with_session()
def backup(
    session: Session,
    folder: Annotated[Path, typer.Argument(help="The folder of the copies, best on another disk.")],
    keep: Annotated[int, typer.Option("--keep", min=1, help="How many of the newest copies to keep.")] = 7,
    wait: WaitOption = False,
) -> None:
    """Copy the store, read the copy back to verify it, and remove the oldest copies.

    Example: mmprod store backup backups --keep 7
    """
    from mmprod.stages.store import backup_store

    with session.lake.writing(wait):
        copy, removed = backup_store(session.lake, session.config, folder, keep)
    content = {"path": str(copy), "removed": [str(path) for path in removed]}
    session.show(content, f"{copy}; {len(removed)} older removed")


@app.command()
@with_session()
def export(
    session: Session,
    path: Annotated[Path, typer.Argument(help="Parquet file to write; it can be ingested again.")],
) -> None:
    """Write the live products as a product table.

    Example: mmprod store export products.parquet
    """
    with session.store() as store:
        rows = store.export(path)
    session.show({"rows": rows, "path": str(path)}, f"{rows:,} products written to {path}")
