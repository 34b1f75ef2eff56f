"""What clients send and read, without a server: framing, parts, deadlines, shared memory."""

import json
import struct
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmprod.serving import kserve
from mmprod.serving.client import calls
from mmprod.serving.client.http import base_url
from mmprod.serving.client.retry import Deadline, Unavailable
from mmprod.serving.client.shared_memory import Region
from mmprod.serving.errors import Refused
from mmprod.serving.types import Product
from mmprod.storage.errors import InputError, StateError

texts = st.lists(st.binary(max_size=20), min_size=1, max_size=20)


def column(items: list[bytes]) -> np.ndarray:
    made = np.empty((len(items), 1), np.object_)
    made[:, 0] = items
    return made


def framed(items: list[bytes]) -> bytes:
    return b"".join(struct.pack("<I", len(item)) + item for item in items)


@given(texts, st.integers(-(2**31), 2**31 - 1))
def test_a_request_is_json_then_the_tensors_in_order(items: list[bytes], k: int) -> None:
    body, headers = kserve.encode({"TITLE": column(items), "K": np.array([k], np.int32)}, 2.5)
    length = int(headers[kserve.JSON_LENGTH])
    head, rest = json.loads(body[:length]), body[length:]
    assert head["parameters"] == {"binary_data_output": True, "timeout": 2_500_000}
    title, number = head["inputs"]
    assert (title["datatype"], title["shape"]) == ("BYTES", [len(items), 1])
    assert (number["datatype"], number["shape"]) == ("INT32", [1])
    assert title["parameters"]["binary_data_size"] == len(framed(items))
    assert rest == framed(items) + struct.pack("<i", k)


def test_no_time_left_is_not_told_as_no_limit() -> None:
    body, headers = kserve.encode({"TITLE": column([b"a"])}, 0.0)
    assert json.loads(body[: int(headers[kserve.JSON_LENGTH])])["parameters"]["timeout"] == 1


@given(texts, st.lists(st.floats(width=32), max_size=20))
def test_an_answer_comes_back_as_it_was_sent(items: list[bytes], numbers: list[float]) -> None:
    floats = np.array(numbers, np.float32)
    body, length = answer({"V": floats, "ID": column(items)})
    found = kserve.decode(body, length)
    np.testing.assert_array_equal(found["V"], floats)
    assert found["V"].flags.writeable and found["ID"].tolist() == [[item] for item in items]


def answer(outputs: dict[str, np.ndarray]) -> tuple[bytes, str]:
    """Body of an answer as Triton makes them, and the length of its JSON."""
    described, parts = [], []
    for name, data in outputs.items():
        text = data.dtype == np.object_
        parts.append(framed(data.reshape(-1).tolist()) if text else data.tobytes())
        size = {"binary_data_size": len(parts[-1])}
        kind = "BYTES" if text else "FP32"
        described.append({"name": name, "datatype": kind, "shape": list(data.shape), "parameters": size})
    head = json.dumps({"outputs": described}).encode()
    return head + b"".join(parts), str(len(head))


GOOD = {"name": "V", "datatype": "FP32", "shape": [1], "parameters": {"binary_data_size": 4}}
HOSTILE: list[Any] = [
    [], {}, {"outputs": None}, {"outputs": [1]}, {"outputs": [{}]},
    *({"outputs": [{**GOOD, **change}]} for change in (
        {"datatype": "FP64"}, {"datatype": []}, {"shape": [2]}, {"shape": [10**30]}, {"shape": ["a"]},
        {"shape": None}, {"name": []}, {"parameters": None}, {"datatype": "BYTES"},
        *({"parameters": {"binary_data_size": size}} for size in (-1, 5, 2.5, None, "4", 10**30)),
    )),
]  # fmt: skip


@pytest.mark.parametrize("content", HOSTILE, ids=json.dumps)
def test_an_answer_at_fault_is_told(content: Any) -> None:
    head = json.dumps(content).encode()
    with pytest.raises(ValueError):
        kserve.decode(head + b"\xff\xff\xff\x7f", str(len(head)))


@given(st.binary(max_size=200), st.none() | st.text(max_size=4) | st.integers(-99, 99).map(str))
def test_garbage_is_told(body: bytes, length: str | None) -> None:
    with pytest.raises(ValueError):
        kserve.decode(body, length)
    with pytest.raises(ValueError):
        kserve.decode(b"[" * 100_000 + body, None)


@given(st.lists(st.integers(0, 9 << 20), min_size=1, max_size=30), st.integers(1, 8))
def test_parts_keep_order_and_limits(sizes: list[int], batch: int) -> None:
    """Lengths only matter, so all pictures are parts of one."""
    one = memoryview(bytes(9 << 20))
    pictures = [one[:size] for size in sizes]
    made = calls.pictures(pictures)  # type: ignore[arg-type]
    parts = [part["PICTURE"].reshape(-1).tolist() for part in made.parts(batch)]
    assert [len(item) for part in parts for item in part] == sizes
    for part in parts:
        assert 1 <= len(part) <= batch
        assert len(part) == 1 or sum(map(len, part)) <= calls.BYTES


def test_a_pairs_inputs_are_those_that_any_of_them_has() -> None:
    call = calls.similarity(
        [(Product("D1"), Product(title="灯")), (Product("D2"), Product("D3"))], "same_item"
    )
    found = {name: data.reshape(-1).tolist() for name, data in call.inputs.items()}
    assert found == {
        "A_ID": [b"D1", b"D2"], "B_ID": [b"", b"D3"], "B_TITLE": ["灯".encode(), b""],
        "PROFILE": [b"same_item"] * 2,
    }  # fmt: skip


def test_a_search_has_no_batches() -> None:
    call = calls.search(Product(title="lamp"), 5, "selection", "Home", as_text=True)
    assert {name: data.tolist() for name, data in call.inputs.items()} == {
        "TEXT": [b"lamp"], "PROFILE": [b"selection"], "FILTER": [b"Home"], "K": [5],
    }  # fmt: skip
    assert [len(part) for part in call.parts(1)] == [4]


@pytest.mark.parametrize("make", [calls.titles, calls.pictures, calls.products])
def test_nothing_is_refused_here(make: Any) -> None:
    with pytest.raises(Refused, match="empty: nothing was sent"):
        make([])


def test_half_a_character_is_refused_here() -> None:
    with pytest.raises(Refused, match="bad_text"):
        calls.titles(["red \ud83d mug"])


def test_rows_that_do_not_match_the_question_are_told() -> None:
    call = calls.titles(["a", "b", "c"])
    one = {"VECTOR": np.ones((1, 4), np.float32)}
    assert call.result([one, one, one]).shape == (3, 4)
    other, flat = {"OTHER": one["VECTOR"]}, {"VECTOR": np.ones(2)}
    for parts in ([one], [one] * 4, [{}], [one, other], [one, flat, one]):
        with pytest.raises(ValueError):
            call.result(parts)


def test_pauses_grow_and_end_with_the_deadline() -> None:
    deadline = Deadline(10)
    for most in (0.1, 0.2, 0.4, 0.8, 1.6, 2.0, 2.0):
        assert 0 <= deadline.pause(Unavailable("busy")) <= most
    assert 3 <= deadline.pause(Unavailable("busy", wait=3)) <= 5
    assert 9 < deadline.remaining <= 10
    with pytest.raises(Unavailable, match="busy"):
        deadline.pause(Unavailable("busy", wait=10))
    with pytest.raises(StateError, match="deadline of 0 s"):
        _ = Deadline(0).remaining


@pytest.mark.parametrize(("address", "url"), [
    ("127.0.0.1:8000", "http://127.0.0.1:8000"), ("mmprod", "http://mmprod"), ("[::1]:80", "http://[::1]:80"),
    ("https://a.b/", "https://a.b"), ("http://a:1/path", "http://a:1"),
])  # fmt: skip
def test_addresses(address: str, url: str) -> None:
    assert base_url(address) == url


@pytest.mark.parametrize("address", ["", ":8000", "a:b", "a:99999", "a:0", "ftp://a", "http://", "[::1"])
def test_what_is_not_an_address_is_refused(address: str) -> None:
    with pytest.raises(InputError, match="is not the address"):
        base_url(address)


def test_a_region_carries_one_request_at_a_time() -> None:
    region = Region(300_000)
    try:
        assert region.take() is region and region.take() is None
        one, two = bytes(range(256)) * 400, b"x" * 100_000
        placed = region.put([one[:1000], one[1000:]], len(one))
        assert placed == {
            "shared_memory_region": region.name, "shared_memory_byte_size": len(one),
            "shared_memory_offset": 0,
        }  # fmt: skip
        lies = region.put([two], len(two))
        assert lies is not None and lies["shared_memory_offset"] == len(one)
        assert (Path("/dev/shm") / region.name).read_bytes()[: len(one) + len(two)] == one + two
        assert region.put([two], len(two)) is None, "there is no room for it"
        assert region.put([b"small"], 5) is None
        region.give_back()
        assert region.take() is region
    finally:
        region.close()
    assert not (Path("/dev/shm") / region.name).exists()


def test_a_region_larger_than_the_machine_has_is_refused_not_a_crash() -> None:
    with pytest.raises(StateError, match="no shared memory of 1099511627776 bytes"):
        Region(1 << 40)


def test_a_region_is_gone_when_its_process_is() -> None:
    name = python(
        "from mmprod.serving.client.shared_memory import Region; print(Region(100_000).name)"
    ).strip()
    assert name and not (Path("/dev/shm") / name).exists()


HEAVY = ("torch", "faiss", "pyarrow", "lance", "onnxruntime")


@pytest.mark.parametrize(("name", "unneeded"), [("Client", "aiohttp"), ("AsyncClient", "urllib3")])
def test_a_client_is_cheap_to_import(name: str, unneeded: str) -> None:
    code = f"from mmprod.serving.client import {name}; from mmprod.serving.types import Product"
    code += "; import sys; print({*sys.argv} & {*sys.modules})"
    assert python(code, *HEAVY, unneeded).strip() == "set()"


def python(code: str, *arguments: str) -> str:
    """What a new process prints, warnings being errors."""
    command = [sys.executable, "-P", "-W", "error", "-c", code, *arguments]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0 and not done.stderr, done.stderr
    return done.stdout
