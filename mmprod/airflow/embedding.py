"""Tasks shared by several DAGs: encode what changed in the store, shard by shard, and merge the results."""

from collections.abc import Sequence

from airflow.sdk import Asset, task

from mmprod.airflow.command import Mmprod


def embedding(outlets: Sequence[Asset] = (), candidate: str = "") -> tuple[Mmprod, Mmprod]:
    """Create the tasks that update the embedding table from the store; returns the first and the last task.

    Each shard of the store is a task; as many run in parallel as pool `mmprod_gpu` has slots. `candidate`: a
    template with the name of a candidate encoder, to be used instead of the encoder in use.
    """
    option = f"--candidate={candidate}" if candidate else ""
    store = Mmprod(task_id="store", words=["store", "stats"], pool="default_pool")
    encode = Mmprod.partial(task_id="encode", pool="mmprod_gpu").expand(words=shards(store.output, option))
    embed = Mmprod(task_id="embed", words=["embed", "--wait", option], outlets=list(outlets))
    encode >> embed
    return store, embed


@task(pool="default_pool")
def shards(stats: dict[str, int], option: str) -> list[list[str]]:
    """The arguments of the command for each shard."""
    return [["embed", "--wait", "--shard", str(number), option] for number in range(stats["shards"])]
