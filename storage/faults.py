"""Named fault points: places where tests make the process die or a disk fail.

``MMPROD_FAULT=point:n:action`` triggers when a process passes `point` for the n-th time (from 1).
Actions: ``kill`` (SIGKILL to itself, as the kernel's out-of-memory killer would), ``stop`` (SIGSTOP), ``eio``
and ``enospc`` (an OSError as a failing or full disk gives). Without the variable a fault point costs a dict
look-up.
"""

import errno
import os
import signal
from collections import Counter

VARIABLE = "MMPROD_FAULT"
POINTS = (
    "ingest.read",  # a batch of the product table was read
    "ingest.transaction",  # inside an LMDB transaction, before its commit
    "ingest.committed",  # a batch is committed, its bookkeeping is not
    "embed.encoded",  # a batch is encoded, nothing is written
    "embed.committed",  # Lance has a new version, the pointer still names the old one
    "artifact.written",  # all files of an artifact are written, none is synced
    "artifact.published",  # the generation is in place, CURRENT still names the old one
    "artifact.switched",  # CURRENT names the new generation
    "index.built",  # the Faiss index is trained and filled, not yet written
    "recall.batch",  # a batch of the recall table is written
    "checkpoint.written",  # a checkpoint is on disk, its sha256 is not
    "store.exchange",  # the live store is moved aside, its compacted copy is not yet in its place
    "run.finished",  # all stages are complete, the run record is not written
)
_ERRORS = {"eio": errno.EIO, "enospc": errno.ENOSPC}
_SIGNALS = {"kill": signal.SIGKILL, "stop": signal.SIGSTOP}
_passed: Counter[str] = Counter()


def fault(point: str) -> None:
    """Trigger the fault that ``MMPROD_FAULT`` sets for this point, if any.

    Raises: OSError for ``eio`` and ``enospc``; ValueError when the variable can't be understood.
    """
    wanted = os.environ.get(VARIABLE)
    if not wanted:
        return
    name, count, action = _parse(wanted)
    _passed[point] += 1
    if point != name or _passed[point] != count:
        return
    if action in _SIGNALS:
        os.kill(os.getpid(), _SIGNALS[action])
        return  # a stopped process goes on here when it is continued
    raise OSError(_ERRORS[action], f"{os.strerror(_ERRORS[action])} (fault point {point})")


def _parse(wanted: str) -> tuple[str, int, str]:
    name, _, rest = wanted.partition(":")
    count, _, action = rest.partition(":")
    if name not in POINTS or not count.isdigit() or action not in {*_SIGNALS, *_ERRORS}:
        raise ValueError(
            f"{VARIABLE}={wanted!r}: want point:n:kill|stop|eio|enospc with a point of {', '.join(POINTS)}"
        )
    return name, int(count), action
