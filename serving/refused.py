"""Requests that can't be answered, told from failures of the service."""

import re
from typing import Literal, get_args

from mmprod.storage.errors import InputError

Code = Literal[
    "empty",  # nothing to encode or compare
    "ambiguous",  # a product given by id and by content
    "bad_text",
    "bad_image",
    "too_large",  # over a limit of the release
    "unknown_id",
    "unknown_profile",
    "unknown_category",
    "not_comparable",  # two products that share no modality the profile counts
    "bad_k",
    "lengths",  # inputs of a request that don't belong together
    "bad_request",  # what Triton itself refuses: names, types, shapes, a batch too large
]


class Refused(InputError):  # noqa: N818  (what a request is)
    """A request that is at fault. `code` is for programs, the message for people: "code: what and why"."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code

    @classmethod
    def parse(cls, message: str) -> "Refused | None":
        """The refusal that a message of a server tells of, wherever in it; None where it tells of none."""
        found = _TOLD.search(message)
        return cls(found[1], found[2]) if found else None  # type: ignore[arg-type]


_TOLD = re.compile(rf"\b({'|'.join(get_args(Code))}): (.*)", re.DOTALL)
