"""The tasks that several DAGs have in common: what changed in the store is encoded and taken in."""

from collections.abc import Sequence

from airflow.sdk import Asset, task

from mmprod.airflow.command import Mmprod


def embedding(outlets: Sequence[Asset] = (), candidate: str = "") -> tuple[Mmprod, Mmprod]:
    """Bring the embedding table up to the store; the first and the last of the tasks that do it.

    Each shard of the store is encoded by a task of its own, as many at once as pool `mmprod_gpu` has slots.
    `candidate`: a template that names an encoder to do it with, beside the one in use.
    """
    option = f"--candidate={candidate}" if candidate else ""
    store = Mmprod(task_id="store", words=["store", "stats"], pool="default_pool")
    encode = Mmprod.partial(task_id="encode", pool="mmprod_gpu").expand(words=shards(store.output, option))
    embed = Mmprod(task_id="embed", words=["embed", "--wait", option], outlets=list(outlets))
    encode >> embed
    return store, embed


@task(pool="default_pool")
def shards(stats: dict[str, int], option: str) -> list[list[str]]:
    """The command line of each shard."""
    return [["embed", "--wait", "--shard", str(number), option] for number in range(stats["shards"])]
