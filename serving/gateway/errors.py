"""Error responses of the gateway itself: JSON {"error": "code: message"}."""

import json

from aiohttp import web

from mmprod.serving.errors import Refused

JSON = "application/json"


class HttpError(Exception):
    """Ends a request with an HTTP status, and a code and message as in `Refused`.

    With `close` the connection is closed after the response, because the rest of the request is not read.
    With `probe` the server is probed soon, because it may be broken.
    """

    def __init__(
        self, status: int, code: str, message: str, *, close: bool = False, probe: bool = False
    ) -> None:
        super().__init__(f"{code}: {message}")
        self.status, self.code = status, code
        self.close, self.probe = close, probe


def bad_request(refused: Refused) -> HttpError:
    """A refusal as an error of status 400."""
    return HttpError(400, refused.code, str(refused).partition(": ")[2])


def error_response(error: HttpError) -> web.Response:
    """The response to a request that failed; a 503 asks the client to retry after a second."""
    body = json.dumps({"error": str(error)}).encode()
    response = web.Response(body=body, status=error.status, content_type=JSON)
    if error.status == 503:
        response.headers["Retry-After"] = "1"
    if error.close:
        response.force_close()
    return response
