"""The request log: one line of JSON per request, in rotating files."""

import json
import logging
import random
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path

FILE = "requests.jsonl"
_BYTES, _FILES = 16 * 2**20, 4  # size of a file; files kept besides the current one


@dataclass
class Record:
    """A request and its outcome. `error` is the error's code, "" for a success."""

    id: str
    peer: str
    model: str = ""
    status: int = 0
    seconds: float = 0.0
    bytes_in: int = 0
    bytes_out: int = 0
    release: str = ""
    error: str = ""


class RequestLog:
    """Logs every failed request, and a share of the others."""

    def __init__(self, folder: Path, share: float) -> None:
        """`share`: of the successful requests, 0 to 1."""
        self._share = share
        self._file = RotatingFileHandler(folder / FILE, maxBytes=_BYTES, backupCount=_FILES, encoding="utf-8")

    def write(self, record: Record) -> None:
        """Log a request, if it is selected. An error such as a full disk is only reported by `logging`."""
        if record.status >= 400 or random.random() < self._share:
            line = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), **asdict(record)}
            line["milliseconds"] = round(1000 * line.pop("seconds"), 2)
            self._file.handle(logging.makeLogRecord({"msg": json.dumps(line)}))

    def close(self) -> None:
        """Close the file."""
        self._file.close()
