"""Compares two products with the running service; for `mmprod similarity --online`."""

import math
from collections.abc import Sequence
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from mmprod.lake import Lake
from mmprod.sections import Config
from mmprod.serving.client import Client
from mmprod.serving.errors import Refused
from mmprod.serving.types import Product, Similarity
from mmprod.stages.online.server import read_server
from mmprod.storage.errors import InputError, StateError

_FILE, _TITLE = "@", "title:"


def parse_product(text: str) -> Product:
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


def local_address(lake: Lake) -> str:
    """The address of the service that was started on a lake. Raises: StateError if none runs."""
    if (server := read_server(lake)) is None:
        raise StateError(
            f"no service runs on {lake.root}: run `mmprod triton start`, or name one with --server"
        )
    return server.address


def compare_online(
    lake: Lake, config: Config, a: str, b: str, server: str | None = None
) -> dict[str, dict[str, Any]]:
    """Compare two products, given as for `parse_product`, under each served profile; as `compare`.

    `server` is the service's address; by default the one that was started on the lake is used.
    """
    products = (parse_product(a), parse_product(b))
    with Client(server or local_address(lake)) as client:
        return compare(client, *products, config.serving.profiles)


def compare(client: Client, a: Product, b: Product, profiles: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The fields of `Similarity` by profile, None for NaN.

    If a profile uses nothing of a product, the verdict is "not comparable" and all other fields are None.
    Raises: Refused, StateError, as the client.
    """
    return {profile: _compare_under(client, a, b, profile) for profile in profiles}


def _compare_under(client: Client, a: Product, b: Product, profile: str) -> dict[str, Any]:
    try:
        result = asdict(client.similarity([(a, b)], profile)[0])
    except Refused as refused:
        if refused.code != "not_comparable":
            raise
        empty = dict.fromkeys(field.name for field in fields(Similarity))
        return {**empty, "verdict": "not comparable"}
    return {name: _none_for_nan(value) for name, value in result.items()}


def _none_for_nan(value: Any) -> Any:
    return None if isinstance(value, float) and math.isnan(value) else value
