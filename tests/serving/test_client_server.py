"""Both clients, and the command that uses one, against the real service."""

import asyncio
import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from mmprod.cli.app import app
from mmprod.config import load
from mmprod.serving.client import AsyncClient, Client
from mmprod.serving.client.shared_memory import Region
from mmprod.serving.errors import Refused
from mmprod.serving.products import encode_products
from mmprod.serving.service import Service
from mmprod.serving.types import Product
from mmprod.stages.online.compare import compare, local_address, parse_product
from mmprod.stages.online.server import reload, start, stop
from mmprod.storage.errors import InputError, StateError

pytestmark = pytest.mark.slow


def test_the_asyncio_client_answers_as_this_process_does(started: Any, service: Service, world: Any) -> None:
    given = [world.content(name) for name in world.both()[:3]] + [Product(title="red mug")]
    pairs = [(Product(name), one) for name in world.both()[:4] for one in given]

    async def ask() -> None:
        async with AsyncClient(started.server.address) as client:
            assert await client.ready()
            titles, pictures = [one.title for one in given], [one.picture for one in given[:3]]
            close(await client.titles(titles), service.encoding.titles(titles))
            close(await client.pictures(pictures), service.encoding.pictures(pictures))
            for there, here in zip(
                await client.products(given), encode_products(service.encoding, given), strict=True
            ):
                close(there, here)
            there_, here_ = (
                await client.similarity(pairs, "same_item"),
                service.similarity(pairs, "same_item"),
            )
            for one, other in zip(there_, here_, strict=True):
                assert asdict(one) == pytest.approx(asdict(other), abs=1e-5, nan_ok=True)
            answer = await client.search(given[0], 5, "selection", "Home")
            assert answer.product_ids == service.search(given[0], 5, "selection", "Home").product_ids
            with pytest.raises(Refused, match="unknown_id: product 'D-none'"):
                await client.search(Product("D-none"), 5, "selection")

    asyncio.run(ask())


def test_what_is_longer_than_a_batch_is_answered_in_order(
    client: Client, started: Any, service: Service
) -> None:
    titles = [f"red mug {i}" for i in range(150)]
    here = np.concatenate([service.encoding.titles(titles[i : i + 50]) for i in range(0, 150, 50)])
    close(client.titles(titles), here)

    async def ask() -> np.ndarray:
        async with AsyncClient(started.server.address, batch=16) as asking:
            return await asking.titles(titles)

    close(asyncio.run(ask()), here)


def close(there: np.ndarray, here: np.ndarray) -> None:
    np.testing.assert_allclose(there, here, atol=1e-5)


def test_shared_memory_is_refused_where_it_is_not_allowed(started: Any, world: Any) -> None:
    with (
        Client(started.server.address, shared_memory=1 << 20) as client,
        pytest.raises((Refused, StateError), match="shared"),
    ):
        client.infer("image_encoder", {"PICTURE": large(world)})


def large(world: Any) -> np.ndarray:
    """Pictures that are large enough, with the bytes after its end that a JPEG may have."""
    found = np.empty((3, 1), np.object_)
    found[:, 0] = [world.content(name).picture + bytes(50_000) for name in world.both()[:3]]
    return found


@pytest.fixture
def shared(own: Any, environment: Path, another_port: int) -> Iterator[Any]:
    """A service that takes shared memory: its address, and a function that reloads it."""
    changed = {"serving.port": another_port, "serving.shared_memory": True}
    config = load(own.folder / "mmprod.toml", changed).config
    server = start(own.lake, config, own.release)
    try:
        yield server.address, lambda: reload(own.lake, config, own.release)
    finally:
        stop(own.lake)


def test_pictures_pass_through_shared_memory_and_a_reload(
    shared: Any, world: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    address, reload_ = shared
    pictures, placed = large(world), []
    put = Region.put
    monkeypatch.setattr(Region, "put", lambda *a: placed.append(put(*a)) or placed[-1])
    with Client(address) as plain, Client(address, shared_memory=1 << 20) as client:
        wanted = plain.infer("image_encoder", {"PICTURE": pictures})["VECTOR"]
        for _ in range(2):
            for _ in range(2):
                close(client.infer("image_encoder", {"PICTURE": pictures})["VECTOR"], wanted)
            reload_()
    assert len(placed) == 6 and all(placed), "each call, and once more after a server first heard of it"
    assert not (Path("/dev/shm") / placed[0]["shared_memory_region"]).exists()


def test_products_as_they_are_typed(world: Any, tmp_path: Path) -> None:
    picture = tmp_path / "photo.jpg"
    picture.write_bytes(b"\xff\xd8\xff")
    assert parse_product(f"@{picture}") == Product(picture=b"\xff\xd8\xff")
    assert parse_product("title:red mug") == Product(title="red mug")
    assert parse_product("D000012") == Product("D000012")
    with pytest.raises(InputError, match=r"none\.jpg can't be read: No such file"):
        parse_product(f"@{tmp_path / 'none.jpg'}")


def test_two_products_are_compared_under_each_profile(started: Any, service: Service, world: Any) -> None:
    name = world.both()[0]
    profiles = started.config.serving.profiles
    with Client(local_address(world.lake)) as client:
        found = compare(client, Product(name), Product(title="red mug"), profiles)
        with pytest.raises(Refused, match="unknown_id"):
            compare(client, Product("D-none"), Product(name), profiles)
    here = service.similarity([(Product(name), Product(title="red mug"))], "same_item")[0]
    assert list(found) == list(profiles)
    assert found["same_item"]["score"] == pytest.approx(here.score, abs=1e-5)
    assert found["same_item"]["image_score"] is None
    assert found["selection"]["verdict"] == "not comparable" and found["selection"]["score"] is None


def test_the_command_asks_the_lakes_own_service(started: Any, world: Any, tmp_path: Path) -> None:
    a, b = world.both()[:2]
    (tmp_path / "photo.jpg").write_bytes(world.content(a).picture)
    told = run(
        "similarity", a, f"@{tmp_path / 'photo.jpg'}", "--online", "--json", "--lake", str(world.lake.root)
    )
    assert json.loads(told)["profiles"]["selection"]["score"] == pytest.approx(1, abs=1e-3)
    shown = run("similarity", a, b, "--online", "--server", started.server.address)
    assert all(word in shown for word in ("verdict", *started.config.serving.profiles))


def test_without_a_service_the_command_says_what_to_do(tmp_path: Path) -> None:
    done = CliRunner().invoke(app, ["similarity", "D1", "D2", "--online", "--lake", str(tmp_path)])
    assert done.exit_code == 1 and "run `mmprod triton start`" in done.output
    done = CliRunner().invoke(app, ["similarity", "D1", "D2", "--server", "127.0.0.1:8000"])
    assert done.exit_code == 2 and "needs --online" in done.output


def run(*words: str) -> str:
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    assert done.exit_code == 0
    return done.output
