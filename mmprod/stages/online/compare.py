"""Two products, as somebody types them, put to the running service."""

import math
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from mmprod.lake import Lake
from mmprod.serving.client import Client
from mmprod.serving.refused import Refused
from mmprod.serving.values import Compared, Product
from mmprod.stages.online.server import read_server
from mmprod.storage.errors import InputError, StateError

_FILE, _TITLE = "@", "title:"


def side(text: str) -> Product:
    """A product from "@photo.jpg", "title:red mug" or its id. Raises: InputError for an unreadable file."""
    if text.startswith(_TITLE):
        return Product(title=text.removeprefix(_TITLE))
    if not text.startswith(_FILE):
        return Product(product_id=text)
    path = Path(text.removeprefix(_FILE))
    try:
        return Product(picture=path.read_bytes())
    except OSError as error:
        raise InputError(f"{path} can't be read: {error.strerror}") from error


def running(lake: Lake) -> str:
    """The address of the service that was started on a lake. Raises: StateError when none runs."""
    if (server := read_server(lake)) is None:
        raise StateError(
            f"no service runs on {lake.root}: run `mmprod triton start`, or name one with --server"
        )
    return server.address


def compare(client: Client, a: Product, b: Product, profiles: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The fields of Compared by profile, None for NaN, and all but the verdict where it is "not comparable".

    Raises: Refused, StateError, as the client.
    """
    return {profile: _under(client, a, b, profile) for profile in profiles}


def _under(client: Client, a: Product, b: Product, profile: str) -> dict[str, Any]:
    try:
        found = asdict(client.similarity([(a, b)], profile)[0])
    except Refused as refused:
        if refused.code != "not_comparable":
            raise
        nothing = dict.fromkeys(field.name for field in fields(Compared))
        return {**nothing, "verdict": "not comparable"}
    return {name: _known(value) for name, value in found.items()}


def _known(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value
