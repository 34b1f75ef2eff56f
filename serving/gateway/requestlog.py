"""What was asked and what became of it: a line of JSON a request, in files that take turns."""

import json
import logging
import random
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path

FILE = "requests.jsonl"
_BYTES, _FILES = 16 * 2**20, 4  # of a file; of files before the current one


@dataclass
class Record:
    """A request: who asked what, and, once it is known, the answer. `error` is the code of a refusal."""

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
    """Every request that failed, and a share of the others."""

    def __init__(self, folder: Path, share: float) -> None:
        """`share`: of the requests that succeed, 0 to 1."""
        self._share = share
        self._file = RotatingFileHandler(folder / FILE, maxBytes=_BYTES, backupCount=_FILES, encoding="utf-8")

    def write(self, record: Record) -> None:
        """Write a request down, or not. A disk that is full is told of by `logging`; nobody waits for it."""
        if record.status >= 400 or random.random() < self._share:
            line = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), **asdict(record)}
            line["milliseconds"] = round(1000 * line.pop("seconds"), 2)
            self._file.handle(logging.makeLogRecord({"msg": json.dumps(line)}))

    def close(self) -> None:
        """Close the file."""
        self._file.close()
