"""Errors of the online service: bad requests, as opposed to failures of the service (StateError)."""

import re
from typing import Literal, get_args

from mmprod.storage.errors import InputError, StateError

Code = Literal[
    "empty",  # nothing to encode or compare
    "ambiguous",  # a product given by id and by content
    "bad_text",
    "bad_image",
    "too_large",  # over a limit of the release
    "unknown_id",
    "unknown_profile",
    "unknown_category",
    "not_comparable",  # two products that share no modality that the profile uses
    "bad_k",
    "lengths",  # inputs of one request that have different lengths
    "bad_request",  # not a valid request of the protocol: names, types, shapes, a batch too large
]


class Refused(InputError):  # noqa: N818  (the state of a request)
    """A bad request. `code` is for programs, the message for people: "code: what is wrong and why"."""

    def __init__(self, code: Code, message: str) -> None:
        super().__init__(f"{code}: {message}")
        self.code = code

    @classmethod
    def parse(cls, message: str) -> "Refused | None":
        """The refusal that a server's error message contains, at any position; None if it contains none."""
        found = _CODE_AND_REASON.search(message)
        return cls(found[1], found[2]) if found else None  # type: ignore[arg-type]


_CODE_AND_REASON = re.compile(rf"\b({'|'.join(get_args(Code))}): (.*)", re.DOTALL)


class Busy(StateError):  # noqa: N818  (the state of a model)
    """A model accepts no requests at the moment, as while the server stops: the client should retry."""
