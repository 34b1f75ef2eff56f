"""What the models can read passes; all else is refused, whatever it is, and nothing but refused."""

import json
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmprod.serving.errors import Refused
from mmprod.serving.gateway.validate import VALUES, check_inference
from mmprod.serving.repository import MODELS, ModelSpec

MODEL = {model.name: model for model in MODELS}
TEXT, PAIR, SEARCH = (MODEL[name] for name in ("text_encoder", "pair_similarity", "product_search"))


def title(*texts: Any, **change: Any) -> dict[str, Any]:
    found = {"name": "TITLE", "datatype": "BYTES", "shape": [len(texts), 1], "data": list(texts)}
    return {name: value for name, value in (found | change).items() if value is not None}


def check(request: Any, model: ModelSpec = TEXT, shared_memory: bool = False) -> None:
    body = request if isinstance(request, bytes) else json.dumps(request).encode()
    check_inference(model, body, None, shared_memory)


def refusal(request: Any, model: ModelSpec = TEXT, shared_memory: bool = False) -> str:
    with pytest.raises(Refused) as refused:
        check(request, model, shared_memory)
    return str(refused.value)


def framed(*strings: bytes) -> bytes:
    return b"".join(struct.pack("<I", len(string)) + string for string in strings)


def binary(inputs: list[dict[str, Any]], *parts: bytes) -> tuple[bytes, str]:
    """A body with binary tensors, and the header that tells the length of its JSON."""
    told = json.dumps({"inputs": inputs}).encode()
    return told + b"".join(parts), str(len(told))


def in_binary(size: int, count: int = 1) -> dict[str, Any]:
    return title(data=None, shape=[count, 1], parameters={"binary_data_size": size})


def test_what_the_models_read_passes() -> None:
    check({"inputs": [title("red mug")]})
    check({"id": "7", "inputs": [title("a", "b")], "outputs": [{"name": "VECTOR"}]})
    check({"inputs": [title(data=[["a"], ["b"]], shape=[2, 1])]})
    check(
        {
            "parameters": {"binary_data_output": True, "timeout": 10**6},
            "inputs": [title("灯 💡")],
            "outputs": [{"name": "VECTOR", "parameters": {"binary_data": True}}],
        }
    )
    one = {"datatype": "BYTES", "shape": [1], "data": ["x"]}
    k = {"name": "K", "datatype": "INT32", "shape": [1], "data": [5]}
    check({"inputs": [one | {"name": "TEXT"}, one | {"name": "PROFILE"}, k]}, SEARCH)
    data = framed(b"a mug", b"\xff\xd8")
    check_inference(TEXT, *binary([in_binary(len(data), 2)], data), False)


TITLE = title("red mug")
BAD: dict[str, Any] = {
    "a list": [],
    "a number": b"1",
    "nothing": b"",
    "half": b'{"inputs": [',
    "two": b"{}{}",
    "a byte order mark": b"\xef\xbb\xbf{}",
    "not UTF-8": b'{"id": "\xff"}',
    "UTF-16": '{"inputs": []}'.encode("utf-16"),
    "half a surrogate pair": b'{"inputs": [{"name": "TITLE", "datatype": "BYTES", "shape": [1, 1], '
    b'"data": ["\\ud800"]}]}',
    "half of one as a key": b'{"\\udc00": 1}',
    "NaN": b'{"inputs": [{"name": "TITLE", "datatype": "BYTES", "shape": [1, 1], "data": [NaN]}]}',
    "-Infinity": b'{"parameters": {"timeout": -Infinity}}',
    "a huge number": b'{"id": ' + b"9" * 5000 + b"}",
    "nested lists": b"[" * 100_000,
    "nested objects": b'{"a":' * 100_000,
    "nested data": {"inputs": [title(data=json.loads("[" * 500 + "]" * 500))]},
    "a key twice": b'{"inputs": [], "inputs": []}',
    "a key twice inside": b'{"inputs": [{"name": "TITLE", "name": "TITLE"}]}',
    "an unknown key": {"inputs": [TITLE], "input": 1},
    "a number as id": {"id": 7, "inputs": [TITLE]},
    "no inputs": {},
    "inputs that are null": {"inputs": None},
    "inputs that are an object": {"inputs": {"TITLE": TITLE}},
    "inputs of nothing": {"inputs": []},
    "inputs of texts": {"inputs": ["TITLE"]},
    "an unknown input": {"inputs": [TITLE, title("x", name="TITLES")]},
    "a list as name": {"inputs": [title("x", name=["TITLE"])]},
    "no name": {"inputs": [title("x", name=None)]},
    "an input twice": {"inputs": [TITLE, TITLE]},
    "another type": {"inputs": [title(1.0, datatype="FP32")]},
    "a type in small letters": {"inputs": [title("x", datatype="bytes")]},
    "no type": {"inputs": [title("x", datatype=None)]},
    "no shape": {"inputs": [title("x", shape=None)]},
    "a flat shape": {"inputs": [title("x", shape=[1])]},
    "too wide a shape": {"inputs": [title("x", "y", shape=[1, 2])]},
    "no values": {"inputs": [title(shape=[0, 1])]},
    "a negative shape": {"inputs": [title("x", shape=[-1, 1])]},
    "negative twice": {"inputs": [title("x", shape=[-1, -1])]},
    "an enormous shape": {"inputs": [title("x", shape=[2**62, 2**62])]},
    "a shape beyond 64 bits": {"inputs": [title("x", shape=[2**64 + 1, 1])]},
    "a truth as shape": {"inputs": [title("x", shape=[True, 1])]},
    "a fraction as shape": {"inputs": [title("x", shape=[1.0, 1])]},
    "a text as shape": {"inputs": [title("x", shape="[1, 1]")]},
    "too few values": {"inputs": [title("x", shape=[2, 1])]},
    "too many values": {"inputs": [title("x", "y", shape=[1, 1])]},
    "too many for any batch": {"inputs": [title(*["x"] * (VALUES + 1))]},
    "a number as text": {"inputs": [title(1)]},
    "null as text": {"inputs": [title(data=[None], shape=[1, 1])]},
    "an object as text": {"inputs": [title({})]},
    "data that is text": {"inputs": [title(data="x", shape=[1, 1])]},
    "data and a size": {"inputs": [title("x", parameters={"binary_data_size": 0})]},
    "neither": {"inputs": [title(data=None, shape=[1, 1])]},
    "parameters of a list": {"inputs": [title("x", parameters=[])]},
    "parameters that are null": b'{"inputs": [], "parameters": null}',
    "an unknown parameter": {"inputs": [TITLE], "parameters": {"sequence_id": 1}},
    "a negative timeout": {"inputs": [TITLE], "parameters": {"timeout": -1}},
    "a timeout beyond 64 bits": {"inputs": [TITLE], "parameters": {"timeout": 2**64}},
    "a truth as timeout": {"inputs": [TITLE], "parameters": {"timeout": True}},
    "a number as truth": {"inputs": [TITLE], "parameters": {"binary_data_output": 1}},
    "outputs that are null": {"inputs": [TITLE], "outputs": None},
    "an unknown output": {"inputs": [TITLE], "outputs": [{"name": "SCORE"}]},
    "an output twice": {"inputs": [TITLE], "outputs": [{"name": "VECTOR"}] * 2},
    "an output's unknown parameter": {
        "inputs": [TITLE],
        "outputs": [{"name": "VECTOR", "parameters": {"classification": 3}}],
    },
    "a region": {"inputs": [title(data=None, shape=[1, 1], parameters={"shared_memory_region": "r"})]},
    "a size without the bytes": {"inputs": [in_binary(9)]},
    "a negative size": {"inputs": [in_binary(-1)]},
    "a truth as size": {"inputs": [in_binary(True)]},
}


@pytest.mark.parametrize("name", BAD)
def test_what_they_cannot_is_refused(name: str) -> None:
    assert refusal(BAD[name]).startswith("bad_request: ")


def test_messages_name_both_values() -> None:
    assert "shape of TITLE is [1], want ['1 to 4096', 1]" in refusal({"inputs": [title("x", shape=[1])]})
    assert "'SCORE', there are VECTOR, ENCODER" in refusal(BAD["an unknown output"])
    assert len(refusal({"inputs": [title("x", name="N" * 10**6)]})) < 200


@pytest.mark.parametrize("value", [True, 1.0, "5", None, 2**31, -(2**31) - 1, [5]])
def test_k_is_a_number_of_32_bits(value: Any) -> None:
    one = {"datatype": "BYTES", "shape": [1], "data": ["x"]}
    k = {"name": "K", "datatype": "INT32", "shape": [1], "data": [value]}
    assert "in K, want a number" in refusal(
        {"inputs": [one | {"name": "TEXT"}, one | {"name": "PROFILE"}, k]}, SEARCH
    )


def test_inputs_of_different_lengths_are_refused() -> None:
    names = ("A_TITLE", "B_TITLE", "PROFILE")
    inputs = [title(*["x"] * (1 + row // 2), name=name) for row, name in enumerate(names)]
    assert refusal({"inputs": inputs}, PAIR) == (
        "lengths: inputs have different lengths: {'A_TITLE': 1, 'B_TITLE': 1, 'PROFILE': 2}"
    )
    assert "needs the inputs PROFILE" in refusal({"inputs": inputs[:2]}, PAIR)


@pytest.mark.parametrize("header", ["", "-1", "0", "+5", "5.0", " 5", "0x5", "٥", "9" * 400, "10000", "5, 5"])
def test_a_length_that_is_none_is_refused(header: str) -> None:
    with pytest.raises(Refused, match="Inference-Header-Content-Length"):
        check_inference(TEXT, json.dumps({"inputs": [TITLE]}).encode(), header, False)


LIES = {
    "longer than there is": (framed(b"mug")[:-1], 6, 1),
    "a length of 4 GB": (b"\xff\xff\xff\xffmug", 7, 1),
    "half a length": (b"\x01\x00", 2, 1),
    "something after it": (framed(b"mug") + b"x", 8, 1),
    "one more than the shape": (framed(b"a", b"b"), 10, 1),
    "one less than the shape": (framed(b"a"), 5, 2),
    "bytes that no input tells of": (framed(b"a") + b"rest", 5, 1),
    "fewer bytes than told": (framed(b"a"), 50, 1),
}


@pytest.mark.parametrize("name", LIES)
def test_binary_tensors_that_lie_are_refused(name: str) -> None:
    data, size, count = LIES[name]
    with pytest.raises(Refused, match=r"bad_request: .* bytes"):
        check_inference(TEXT, *binary([in_binary(size, count)], data), False)


def test_json_that_would_take_much_memory_is_refused_before_it_is_parsed() -> None:
    assert refusal(b"[" + b"[]," * 1_000_000 + b"[]]").startswith("too_large: ")


def test_regions_are_allowed_where_told() -> None:
    region = {"shared_memory_region": "r", "shared_memory_byte_size": 9}
    asked = {"inputs": [title(data=None, shape=[1, 1], parameters=region)]}
    check(asked, shared_memory=True)
    check(asked | {"outputs": [{"name": "VECTOR", "parameters": region}]}, shared_memory=True)
    for change in (
        {"shared_memory_byte_size": 3},
        {"shared_memory_byte_size": 2**64},
        {"shared_memory_offset": -1},
        {"shared_memory_offset": 2**63 - 1},
        {"shared_memory_region": 7},
    ):
        bad = {"inputs": [title(data=None, shape=[1, 1], parameters=region | change)]}
        assert refusal(bad, shared_memory=True).startswith("bad_request: ")


@given(st.lists(st.text(max_size=20), min_size=1, max_size=5), st.booleans())
def test_any_titles_pass_in_json_and_in_binary(titles: list[str], escaped: bool) -> None:
    check(json.dumps({"inputs": [title(*titles)]}, ensure_ascii=escaped).encode())
    data = framed(*(one.encode() for one in titles))
    check_inference(TEXT, *binary([in_binary(len(data), len(titles))], data), False)


@given(st.binary(max_size=60), st.one_of(st.none(), st.text(max_size=4)))
def test_any_bytes_are_refused(body: bytes, header: str | None) -> None:
    with pytest.raises(Refused):
        check_inference(TEXT, body, header, False)


JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5)),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)
TENSOR = st.fixed_dictionaries(
    {},
    optional={
        "name": st.sampled_from(["TITLE", "K", "ID", "VECTOR"]) | JSON,
        "datatype": st.sampled_from(["BYTES", "INT32", "FP32"]) | JSON,
        "shape": st.lists(st.integers(-1, 3), max_size=3) | JSON,
        "data": st.lists(st.text(max_size=3), max_size=3) | JSON,
        "parameters": st.dictionaries(st.sampled_from(["binary_data_size", "x"]), JSON) | JSON,
    },
)
REQUEST = st.fixed_dictionaries(
    {}, optional={name: st.lists(TENSOR, max_size=2) | JSON for name in ("inputs", "outputs")} | {"id": JSON}
)


@given(REQUEST, st.sampled_from(MODELS), st.booleans())
def test_any_request_passes_or_is_refused(request: Any, model: ModelSpec, shared_memory: bool) -> None:
    """Nothing else is raised; and what passes has all that is needed, in the number that its shape tells."""
    try:
        check(json.dumps(request).encode(), model, shared_memory)
    except Refused:
        return
    names = [tensor["name"] for tensor in request["inputs"]]
    assert set(model.required) <= set(names) <= set(model.inputs)
    for tensor in request["inputs"]:
        assert tensor["shape"][0] == len(tensor["data"])


@given(st.data())
def test_a_body_cut_anywhere_is_refused(data: Any) -> None:
    frames = framed(b"red mug", b"", b"lamp")
    body, length = binary([in_binary(len(frames), 3)], frames)
    cut = data.draw(st.integers(0, len(body) - 1))
    with pytest.raises(Refused):
        check_inference(TEXT, body[:cut], length, False)
