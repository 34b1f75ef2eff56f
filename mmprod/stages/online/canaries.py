"""What a release is asked before it serves, with the answers that this process gives."""

import base64
from collections.abc import Iterator, Mapping, Sequence
from io import BytesIO

import numpy as np
from PIL import Image

from mmprod.encoders.export.spec import Spec
from mmprod.serving.canaries import CLOSE, Canary, Value
from mmprod.serving.products import encode_products
from mmprod.serving.service import Service
from mmprod.serving.values import Answer, Compared, Product

_TITLES = ("red cotton dress", "灯")


def record_canaries(service: Service) -> list[Canary]:
    """Questions to every model and every profile that a picture or a title can be asked of."""
    close = CLOSE[Spec.read(service.release.engine).precision]
    found = [*_encoders(service, close)]
    for profile in service.release.profiles:
        found += _profile(service, profile, close)
    return found


def _encoders(service: Service, close: float) -> Iterator[Canary]:
    picture, encoding = _picture(), service.encoding
    shown, encoder = _shown(picture), encoding.fingerprint
    titles, pictures = encoding.titles(_TITLES), encoding.pictures([picture])
    asked = _inputs({"TITLE": list(_TITLES)})
    yield Canary("text_encoder", asked, {"VECTOR": _flat(titles), "ENCODER": [encoder] * 2}, close)
    asked = _inputs({"PICTURE": [shown]})
    yield Canary("image_encoder", asked, {"VECTOR": _flat(pictures), "ENCODER": [encoder]}, close)
    products = [
        Product(title=_TITLES[0], picture=picture),
        Product(title=_TITLES[1]),
        Product(picture=picture),
    ]
    image, text = encode_products(encoding, products)
    asked = _inputs({"TITLE": [*_TITLES, ""], "PICTURE": [shown, "", shown]})
    yield Canary("product_encoder", asked, {"IMAGE": _flat(image), "TEXT": _flat(text)}, close)


def _profile(service: Service, profile: str, close: float) -> Iterator[Canary]:
    picture = _picture()
    upload = Product(title=_TITLES[0], picture=picture)
    content = {"TITLE": [_TITLES[0]], "PICTURE": [_shown(picture)], "PROFILE": [profile]}
    nearest = service.search(upload, 3, profile)
    yield Canary("product_search", _search(content), _found(nearest, close), close)
    if not nearest.product_ids:
        return
    known = nearest.product_ids[0]
    sides = {"A_ID": [known], "B_TITLE": content["TITLE"], "B_PICTURE": content["PICTURE"]}
    compared = service.similarity([(Product(known), upload)], profile)[0]
    asked = _inputs({**sides, "PROFILE": [profile]})
    yield Canary("pair_similarity", asked, _compared(compared, close), close)
    by_text = service.search(Product(title=_TITLES[0]), 3, profile, as_text=True)
    asked = _search({"TEXT": [_TITLES[0]], "PROFILE": [profile]})
    yield Canary("product_search", asked, _found(by_text, close), close)


def _found(answer: Answer, close: float) -> dict[str, list[Value]]:
    expected: dict[str, list[Value]] = {"SCORE": _flat(answer.scores)}
    if np.all(np.diff(answer.scores) < -2 * close):  # else their order may be another on another machine
        expected["PRODUCT_ID"] = [*answer.product_ids]
    return {**expected, "GENERATION": [answer.generation], "ENCODER": [answer.encoder]}


def _compared(found: Compared, close: float) -> dict[str, list[Value]]:
    numbers = {"SCORE": found.score, "IMAGE_SCORE": found.image_score, "TEXT_SCORE": found.text_score}
    expected = {name: _flat(np.array([value])) for name, value in numbers.items()}
    expected["THRESHOLD"] = _flat(np.array([found.threshold]))
    if not abs(found.score - found.threshold) <= close:
        expected["VERDICT"] = [found.verdict]
    return {**expected, "GENERATION": [found.generation], "ENCODER": [found.encoder]}


def _inputs(columns: Mapping[str, Sequence[str]]) -> dict[str, list[dict[str, object]]]:
    return {"inputs": [_tensor(name, "BYTES", [len(data), 1], data) for name, data in columns.items()]}


def _search(columns: Mapping[str, Sequence[str]]) -> dict[str, list[dict[str, object]]]:
    """For the model that has no batches."""
    texts = [_tensor(name, "BYTES", [1], data) for name, data in columns.items()]
    return {"inputs": [*texts, _tensor("K", "INT32", [1], [3])]}


def _tensor(name: str, kind: str, shape: list[int], data: Sequence[object]) -> dict[str, object]:
    return {"name": name, "datatype": kind, "shape": shape, "data": list(data)}


def _flat(array: np.ndarray) -> list[Value]:
    values: list[float] = array.reshape(-1).astype(np.float64).tolist()
    return [None if np.isnan(value) else round(value, 6) for value in values]


def _picture() -> bytes:
    """A picture that anyone may have."""
    pixels = np.indices((96, 128)).sum(axis=0)[..., None] * np.array([1, 0, 1]) % 256
    out = BytesIO()
    Image.fromarray(pixels.astype(np.uint8)).save(out, "JPEG")
    return out.getvalue()


def _shown(picture: bytes) -> str:
    """A picture as a text of JSON."""
    return "data:image/jpeg;base64," + base64.b64encode(picture).decode()
