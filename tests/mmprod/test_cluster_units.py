"""Units as tasks of a real Ray cluster, of which a node is lost."""

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pytest

from mmprod.config import load
from mmprod.datasets.embeddings.table import EmbeddingTable
from mmprod.demo.nodes import Nodes, nodes
from mmprod.stages.daily.embed import embed_changes, open_embeddings
from mmprod.stages.daily.ingest import ingest_table
from mmprod.stages.daily.unit_planning import plan_units
from mmprod.stages.daily.unit_taking import take_units
from mmprod.stages.encoder import load_encoder
from mmprod.stages.store import open_store
from mmprod.storage.shared_folder import open_folder

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("ray")]


@pytest.fixture
def ray_nodes() -> Iterator[Nodes]:
    quick = {"RAY_health_check_period_ms": "500", "RAY_health_check_failure_threshold": "3"}
    with nodes(2, quick) as running:
        yield running


def test_units_are_encoded_as_tasks_and_a_lost_node_loses_none(world, ray_nodes: Nodes) -> None:
    """Two nodes encode a task each; after some parts one is killed. The table is that of a single run."""
    mmprod, folder = str(Path(sys.executable).with_name("mmprod")), world.folder / "units"
    with (world.folder / "mmprod.toml").open("a") as file:
        file.write(f'[ray]\naddress = "{ray_nodes.address}"\ncommand = "{mmprod}"\n')
    config = load(world.folder / "mmprod.toml", {"encoder.part_rows": 3}).config
    table, day = world.days[0]
    with open_store(world.lake, config, read_only=False) as store:
        ingest_table(world.lake, config, store, table, day)
    with open_store(world.lake, config) as store:
        planned = plan_units(world.lake, config, store, open_folder(str(folder)))
    line = [mmprod, "embed", "--units", "units", "--config", "mmprod.toml", "--lake", str(world.lake.root)]
    environment = {**os.environ, "MMPROD_ENGINE": "ray"}
    with subprocess.Popen(
        [*line, "--json"], cwd=world.folder, env=environment, stdout=subprocess.PIPE
    ) as command:
        until = time.monotonic() + 90
        while len(list(folder.glob("*.parquet"))) < 4:
            assert command.poll() is None and time.monotonic() < until
            time.sleep(0.05)
        lost = next(ip for ip in ray_nodes.running if ip != ray_nodes.head)
        ray_nodes.end(lost)
        out, _ = command.communicate(timeout=120)
    assert command.returncode == 0, out
    assert len(list(folder.glob("*.parquet"))) == planned.detail["units"] > 20
    with world.lake.writing(), open_store(world.lake, config) as store:
        assert take_units(world.lake, config, store, open_folder(str(folder))).changed == planned.changed
        encoder = load_encoder(world.lake, config)
        taken = open_embeddings(world.lake, config, encoder)
        assert taken.pointer.position == store.head()
        alone = EmbeddingTable(world.folder / "alone", encoder.fingerprint, encoder.width, len(store.head()))
        embed_changes(config, store, alone, encoder)
    ours, theirs = (
        pa.Table.from_batches(one.batches(), one.schema).sort_by("product_id").combine_chunks()
        for one in (taken, alone)
    )
    assert ours.equals(theirs)
