"""What the gateway itself tells a client: JSON {"error": "code: message"}."""

import json

from aiohttp import web

from mmprod.serving.refused import Refused

JSON = "application/json"


class Unanswered(Exception):  # noqa: N818  (what a request is)
    """A request that no model answers: the HTTP status, and a code and message as in `Refused`.

    With `close` the connection ends with the answer, as the rest of the request is not read. `suspicious`: it
    may be that the server is broken.
    """

    def __init__(
        self, status: int, code: str, message: str, *, close: bool = False, suspicious: bool = False
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.status, self.code = status, code
        self.close, self.suspicious = close, suspicious


def refusal(refused: Refused) -> Unanswered:
    """A refusal as an answer: 400."""
    return Unanswered(400, refused.code, str(refused).partition(": ")[2])


def failure(unanswered: Unanswered) -> web.Response:
    """The answer that says why there is none; 503 asks to come again in a second."""
    body = json.dumps({"error": str(unanswered)}).encode()
    response = web.Response(body=body, status=unanswered.status, content_type=JSON)
    if unanswered.status == 503:
        response.headers["Retry-After"] = "1"
    if unanswered.close:
        response.force_close()
    return response
