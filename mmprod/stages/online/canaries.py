"""Makes the canaries of a release: requests, and the answers that this process gives to them."""

import base64
from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO

import numpy as np
from PIL import Image

from mmprod.encoders.export.spec import Spec
from mmprod.serving.canaries import CLOSE, Canary, Value
from mmprod.serving.products import encode_products
from mmprod.serving.service import Service
from mmprod.serving.types import Product, SearchResult, Similarity

_TITLES = ("red cotton dress", "灯")


def record_canaries(service: Service) -> list[Canary]:
    """Canaries for every model, and for the models with profiles, for every profile."""
    close = CLOSE[Spec.read(service.release.engine).precision]
    canaries = [*_encoder_canaries(service, close)]
    for profile in service.release.profiles:
        canaries += _profile_canaries(service, profile, close)
    return canaries


def _encoder_canaries(service: Service, close: float) -> Iterator[Canary]:
    picture, encoding = _picture(), service.encoding
    url, encoder = _data_url(picture), encoding.fingerprint
    titles, pictures = encoding.titles(_TITLES), encoding.pictures([picture])
    request = _batch({"TITLE": list(_TITLES)})
    yield Canary("text_encoder", request, {"VECTOR": _flat(titles), "ENCODER": [encoder] * 2}, close)
    request = _batch({"PICTURE": [url]})
    yield Canary("image_encoder", request, {"VECTOR": _flat(pictures), "ENCODER": [encoder]}, close)
    products = [
        Product(title=_TITLES[0], picture=picture),
        Product(title=_TITLES[1]),
        Product(picture=picture),
    ]
    image, text = encode_products(encoding, products)
    request = _batch({"TITLE": [*_TITLES, ""], "PICTURE": [url, "", url]})
    yield Canary("product_encoder", request, {"IMAGE": _flat(image), "TEXT": _flat(text)}, close)


def _profile_canaries(service: Service, profile: str, close: float) -> Iterator[Canary]:
    picture = _picture()
    upload = Product(title=_TITLES[0], picture=picture)
    content = {"TITLE": [_TITLES[0]], "PICTURE": [_data_url(picture)], "PROFILE": [profile]}
    nearest = service.search(upload, 3, profile)
    yield Canary("product_search", _search(content), _search_outputs(nearest, close), close)
    if not nearest.product_ids:
        return
    known = nearest.product_ids[0]
    sides = {"A_ID": [known], "B_TITLE": content["TITLE"], "B_PICTURE": content["PICTURE"]}
    similarity = service.similarity([(Product(known), upload)], profile)[0]
    request = _batch({**sides, "PROFILE": [profile]})
    yield Canary("pair_similarity", request, _similarity_outputs(similarity, close), close)
    by_text = service.search(Product(title=_TITLES[0]), 3, profile, as_text=True)
    request = _search({"TEXT": [_TITLES[0]], "PROFILE": [profile]})
    yield Canary("product_search", request, _search_outputs(by_text, close), close)


def _search_outputs(result: SearchResult, close: float) -> dict[str, list[Value]]:
    """The expected outputs; ids only if their order is the same on every machine."""
    expected: dict[str, list[Value]] = {"SCORE": _flat(result.scores)}
    if np.all(np.diff(result.scores) < -2 * close):
        expected["PRODUCT_ID"] = [*result.product_ids]
    return {**expected, "GENERATION": [result.generation], "ENCODER": [result.encoder]}


def _similarity_outputs(result: Similarity, close: float) -> dict[str, list[Value]]:
    """The expected outputs; the verdict only if it is the same on every machine."""
    numbers = {"SCORE": result.score, "IMAGE_SCORE": result.image_score, "TEXT_SCORE": result.text_score}
    expected = {name: _flat(np.array([value])) for name, value in numbers.items()}
    expected["THRESHOLD"] = _flat(np.array([result.threshold]))
    if not abs(result.score - result.threshold) <= close:
        expected["VERDICT"] = [result.verdict]
    return {**expected, "GENERATION": [result.generation], "ENCODER": [result.encoder]}


def _batch(columns: Mapping[str, Sequence[str]]) -> dict[str, list[dict[str, object]]]:
    return {"inputs": [_tensor(name, "BYTES", [len(data), 1], data) for name, data in columns.items()]}


def _search(columns: Mapping[str, Sequence[str]]) -> dict[str, list[dict[str, object]]]:
    """A request for the model without batches, with K = 3."""
    texts = [_tensor(name, "BYTES", [1], data) for name, data in columns.items()]
    return {"inputs": [*texts, _tensor("K", "INT32", [1], [3])]}


def _tensor(name: str, kind: str, shape: list[int], data: Sequence[object]) -> dict[str, object]:
    return {"name": name, "datatype": kind, "shape": shape, "data": list(data)}


def _flat(array: np.ndarray) -> list[Value]:
    values: list[float] = array.reshape(-1).astype(np.float64).tolist()
    return [None if np.isnan(value) else round(value, 6) for value in values]


def _picture() -> bytes:
    """A synthetic picture, so that no catalogue's picture is copied into releases."""
    pixels = np.indices((96, 128)).sum(axis=0)[..., None] * np.array([1, 0, 1]) % 256
    out = BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(out, "JPEG")
    return out.getvalue()


def _data_url(picture: bytes) -> str:
    """A picture as a text for JSON."""
    return "data:image/jpeg;base64," + base64.b64encode(picture).decode()
