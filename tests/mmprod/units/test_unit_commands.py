"""Plan, workers and take as commands, on machines of their own: killed, and through a bucket."""

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from mmprod.datasets.schemas import PRODUCT
from mmprod.stages.daily.unit_planning import plan_units
from mmprod.stages.store import open_store


@pytest.fixture
def machines(shop):
    """The shop, and beside it the folder of a worker's machine."""
    shutil.copytree(shop.lake.root / "encoders", shop.folder / "worker" / "lake" / "encoders")
    settings_ = "[encoder]\nbatch = 4\npart_rows = 3\n[store]\nshards = 2\n"
    for folder in (shop.folder, shop.folder / "worker"):
        (folder / "mmprod.toml").write_text(settings_)
    return shop


def command(forked, shop, address: str, **variables: str) -> Callable[..., Any]:
    def run(option: str, folder: str = ".", **more: str) -> Any:
        return forked.mmprod(
            "embed", option, address, "--json", folder=shop.folder / folder, **{**variables, **more}
        )

    return run


@pytest.mark.slow
def test_workers_killed_at_any_batch_lose_and_double_nothing(machines, forked) -> None:
    run = command(forked, machines, str(machines.units))
    assert run("--plan", MMPROD_FAULT="embed.encoded:1:kill").status == 0, "nothing is encoded for a plan"
    for number in (1, 3):
        assert run("--units", "worker", MMPROD_FAULT=f"embed.encoded:{number}:kill").status == -9
    assert run("--units", "worker").status == 0
    assert run("--take", MMPROD_FAULT="embed.committed:2:kill").status == -9
    assert run("--take").status == 0
    assert machines.table.pointer.position == machines.planned.head
    machines.check()


@pytest.mark.slow
def test_what_changes_while_a_plan_is_written_is_left_to_the_next(machines, forked) -> None:
    day = machines.folder / "next.parquet"
    pq.write_table(
        pa.Table.from_pylist(
            [machines.product(n, *((n % 7, n % 4) if n < 6 else (5, 3))) for n in range(14)], PRODUCT
        ),
        day,
    )

    def ingest() -> None:
        words = ("ingest", "--day", "2025-01-02", "--table", str(day), "--approve-removals")
        assert forked.mmprod(*words, folder=machines.folder).status == 0
        day.unlink()

    def progress(stage: str, total: int | None) -> Callable[..., None]:
        return lambda rows, note="": ingest() if day.exists() else None

    with open_store(machines.lake, machines.config) as store:
        plan_units(machines.lake, machines.config, store, machines.exchange, progress=progress)
    assert not day.exists()
    machines.encode()
    assert 0 < machines.take().changed < 13
    machines.embed()
    machines.check()


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    """The address of a bucket on a server that speaks S3."""
    from moto.server import ThreadedMotoServer

    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.mark.slow
def test_units_travel_through_a_bucket(machines, forked, bucket: str) -> None:
    import boto3

    keys = {"aws_access_key_id": "key", "aws_secret_access_key": "secret", "region_name": "us-east-1"}
    s3 = boto3.client("s3", endpoint_url=bucket, **keys)
    s3.create_bucket(Bucket="units")
    variables = {name.upper(): value for name, value in keys.items() if name != "region_name"}
    variables |= {"AWS_DEFAULT_REGION": "us-east-1", "AWS_ENDPOINT_URL": bucket}
    run = command(forked, machines, "s3://units/monday", **variables)
    assert run("--units", "worker").status == 2, "there is no plan yet"
    assert run("--plan").status == 0
    names = [item["Key"] for item in s3.list_objects_v2(Bucket="units")["Contents"]]
    torn = next(name for name in names if name.endswith(".arrow"))
    whole = s3.get_object(Bucket="units", Key=torn)["Body"].read()
    s3.put_object(Bucket="units", Key=torn, Body=whole[:-100])
    done = run("--units", "worker")
    assert done.status == 1
    assert Path(torn).stem in json.loads(done.out)["error"]
    s3.put_object(Bucket="units", Key=torn, Body=whole)
    assert run("--units", "worker").status == 0
    assert run("--take").status == 0
    machines.check()
    gone = command(forked, machines, "s3://elsewhere/monday", **variables)("--plan")
    assert gone.status == 1
    assert "s3://elsewhere/monday" in json.loads(gone.out)["error"]
