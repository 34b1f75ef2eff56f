"""`mmprod run`, and its first two stages as single commands: `mmprod ingest`, `mmprod embed`."""

from typing import Annotated

import typer

from mmprod.cli.options import DayOption, TableOption, WaitOption, with_session
from mmprod.cli.remote import submit
from mmprod.cli.session import Session
from mmprod.cli.units import encode_units, only_one, take_units, write_plan

SnapshotOption = Annotated[
    str | None,
    typer.Option(
        "--snapshot",
        help="full: products not listed are removed; partial: they stay; changes: rows say what is removed.",
    ),
]
ApproveOption = Annotated[
    bool, typer.Option("--approve-removals", help="Allow a day that removes more than the configured share.")
]
ApproveDayOption = Annotated[
    bool, typer.Option("--approve-day", help="Allow a day further ahead of the clock than store.days_ahead.")
]


@with_session()
def run(
    session: Session,
    day: DayOption,
    table: TableOption,
    snapshot: SnapshotOption = None,
    approve_removals: ApproveOption = False,
    approve_day: ApproveDayOption = False,
    wait: WaitOption = False,
) -> None:
    """Run all stages for one day's product table: store, embeddings, indexes, recall tables.

    Safe to run again at any time: work already done is skipped.

    Example: mmprod run --day 2024-05-01 --table products.parquet
    """
    session.override({"table.snapshot": snapshot})
    from mmprod.stages.daily.run import run_day

    with session.lake.writing(wait), session.progress() as progress:
        outcomes = run_day(
            *(session.lake, session.config, table, day.date(), approve_removals, progress),
            approve_day=approve_day,
        )
    session.outcomes(outcomes, f"{day.date()}  {table}")


@with_session()
def ingest(
    session: Session,
    day: DayOption,
    table: TableOption,
    snapshot: SnapshotOption = None,
    approve_removals: ApproveOption = False,
    approve_day: ApproveDayOption = False,
    wait: WaitOption = False,
) -> None:
    """Product table → store: apply what was added, changed or removed; set bad rows aside with a reason.

    Example: mmprod ingest --day 2024-05-01 --table products.csv --snapshot partial
    """
    session.override({"table.snapshot": snapshot})
    from mmprod.stages.daily.ingest import ingest_table

    with (
        session.lake.writing(wait),
        session.progress() as progress,
        session.store(read_only=False, table=table) as store,
    ):
        outcome = ingest_table(
            *(session.lake, session.config, store, table, day.date(), approve_removals, progress),
            approve_day=approve_day,
        )
    session.outcomes([outcome], f"{day.date()}  {table}")


@with_session()
def embed(
    session: Session,
    retry_failed: Annotated[
        bool, typer.Option("--retry-failed", help="Also retry the pictures that could not be encoded.")
    ] = False,
    shard: Annotated[
        int | None,
        typer.Option("--shard", min=0, help="Only encode this shard; several shards may run in parallel."),
    ] = None,
    candidate: Annotated[
        str | None,
        typer.Option(
            "--candidate", help="Embed with this encoder (lake:NAME without lake:), not the one in use."
        ),
    ] = None,
    plan: Annotated[
        str | None,
        typer.Option(
            "--plan",
            metavar="FOLDER",
            help="Only write what is to be encoded to a folder or s3:// address.",
        ),
    ] = None,
    units: Annotated[
        str | None,
        typer.Option(
            "--units",
            metavar="FOLDER",
            help="Only encode what --plan wrote; by any number of workers.",
        ),
    ] = None,
    take: Annotated[
        str | None,
        typer.Option("--take", metavar="FOLDER", help="Only merge what the workers have encoded."),
    ] = None,
    wait: WaitOption = False,
) -> None:
    """Store → embedding table: encode only the pictures and titles that changed.

    Shards that were encoded with --shard are merged first. With engine = "ray", --shard and --units submit a
    job to the Ray cluster and follow it. A candidate's vectors come into use with `mmprod encoder promote`.

    Examples: mmprod embed --retry-failed

    mmprod embed --shard 0

    mmprod embed --candidate retrieval

    On many machines: mmprod embed --plan s3://bucket/monday

    mmprod embed --units s3://bucket/monday

    mmprod embed --take s3://bucket/monday
    """
    only_one({"--retry-failed": retry_failed, "--plan": plan, "--units": units, "--take": take}, shard)
    if candidate:
        session.lake.succession(session.config.encoder.model, candidate)
    if plan:
        write_plan(session, plan, candidate, wait)
        return
    if units:
        encode_units(session, units, candidate)
        return
    if take:
        take_units(session, take, wait)
        return
    from mmprod.stages.daily.embed import bring_up
    from mmprod.stages.daily.shard import encode_shard, shard_work

    if shard is None:
        with session.lake.writing(wait), session.progress() as progress, session.store() as store:
            outcome = bring_up(session.lake, session.config, store, progress, retry_failed, candidate)
    elif session.config.engine == "ray":
        with session.store() as store:
            decisive = shard_work(session.lake, session.config, store, shard, candidate)
        words = ["embed", "--shard", str(shard), *(["--wait"] if wait else [])]
        words += ["--candidate", candidate] if candidate else []
        submit(session, f"embed-{shard}", words, decisive)
        return
    else:
        with session.lake.attempting(), session.progress() as progress, session.store() as store:
            outcome = encode_shard(session.lake, session.config, store, shard, candidate, wait, progress)
    session.outcomes([outcome])
