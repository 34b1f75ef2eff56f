"""`mmprod embed` with --plan, --units and --take: encoding on machines that don't have the store."""

from collections.abc import Mapping
from pathlib import Path

from mmprod.cli.remote import submit
from mmprod.cli.session import Session


def only_one(options: Mapping[str, object], shard: int | None) -> None:
    """Raise InputError if several options were given of which each is a command of its own."""
    from mmprod.storage.errors import InputError

    given = [name for name, value in options.items() if value] + (["--shard"] if shard is not None else [])
    if len(given) > 1:
        raise InputError(f"{' and '.join(given)} can't be combined; give one of them")


def write_plan(session: Session, address: str, candidate: str | None, wait: bool) -> None:
    """Store → units and their plan."""
    from mmprod.stages.daily.unit_planning import plan_units
    from mmprod.storage.shared_folder import open_folder

    folder = open_folder(address)
    with session.lake.attempting(), session.progress() as progress, session.store() as store:
        outcome = plan_units(session.lake, session.config, store, folder, candidate, wait, progress)
    session.outcomes([outcome], folder.address)


def encode_units(session: Session, address: str, candidate: str | None) -> None:
    """Units → parts: in this process, or by a Ray job whose tasks do it."""
    from mmprod.datasets.embeddings.units import the_plan
    from mmprod.stages import cluster
    from mmprod.stages.daily.unit_encoding import encode_units
    from mmprod.stages.ray_units import encode_on_cluster
    from mmprod.storage.shared_folder import open_folder

    folder, on_ray = open_folder(address), session.config.engine == "ray"
    if on_ray and not cluster.inside():
        address = address if "://" in address else str(Path(address).resolve())
        plan = the_plan(folder)
        words = ["embed", "--units", address, *(["--candidate", candidate] if candidate else [])]
        submit(session, "units", words, f"{address} {plan.encoder} {plan.start} {plan.head}", driver=True)
        return
    encode = encode_on_cluster if on_ray else encode_units
    with session.progress() as progress:
        outcome = encode(session.lake, session.config, address, candidate, progress)
    session.outcomes([outcome], folder.address)


def take_units(session: Session, address: str, wait: bool) -> None:
    """Parts → embedding table."""
    from mmprod.stages.daily.unit_taking import take_units
    from mmprod.storage.shared_folder import open_folder

    folder = open_folder(address)
    with session.lake.writing(wait), session.store() as store:
        outcome = take_units(session.lake, session.config, store, folder)
    session.outcomes([outcome], folder.address)
