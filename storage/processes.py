"""Other processes of this machine, identified by process id and start time since ids are reused."""

import contextlib
import os
import select
import signal
from pathlib import Path


def machine() -> str:
    """An identifier of this machine or container, which changes with every boot: host name and boot id."""
    with contextlib.suppress(OSError):
        return f"{os.uname().nodename} {Path('/proc/sys/kernel/random/boot_id').read_text().strip()}"
    return os.uname().nodename


def born(pid: int) -> str:
    """When a process was started, in clock ticks since boot; empty when it is not running."""
    with contextlib.suppress(OSError):
        state, *fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return "" if state == "Z" else fields[18]
    return ""


def kill(pid: int, start: str, seconds: float) -> bool:
    """Kill process `pid` and wait up to `seconds` until it is gone, even if it is stopped.

    `start` as `born` gave it: a later process with the same id is left alone. Returns whether it was running.
    """
    try:
        process = os.pidfd_open(pid)
    except OSError:  # it has ended
        return False
    try:
        if born(pid) != start:
            return False
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(process, signal.SIGKILL)
        select.select([process], [], [], seconds)  # its locks are released when its last thread ends
        return True
    finally:
        os.close(process)
