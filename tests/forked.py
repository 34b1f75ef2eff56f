"""Work in children of one process that has imported everything: torch and Airflow take seconds to import.

    forked.py SNIPPET           Python that imports what is going to be needed
    forked.py SNIPPET SOCKET    the same, for commands of mmprod that others start by `stand_in.py`

Each line of standard input is an order, as JSON, for which a child is forked before anything has started a
thread here: {"line": of mmprod, or "code": Python, "folder": to do it in, "variables": environment}.
The answer is {"status", "out", "err"}, or {"stopped": its process id} where the child has stopped itself;
{"reap": process id} then waits for its end.

With a socket, orders come there, any number at a time, until standard input ends. Such a child is as a
process of its own: with a group, and the arguments, folder, streams and environment that the stand-in was
started with. Two things are this process's: what libraries read from the environment while they are imported,
and what /proc tells, such as name and environment.
"""

import atexit
import contextlib
import gc
import json
import os
import select
import signal
import socket
import sys
import tempfile
import threading
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, NoReturn


def main() -> None:
    exec(sys.argv[1], {})
    gc.freeze()  # a collection in a child would touch, and so copy, all that was imported
    if sys.argv[2:]:
        _serve(sys.argv[2])
        return
    for line in sys.stdin:
        order = json.loads(line)
        answer = {"status": _ended(order["reap"])} if "reap" in order else _forked(order)
        print(json.dumps(answer), flush=True)


def _forked(order: dict[str, Any]) -> dict[str, Any]:
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        if (child := os.fork()) == 0:
            _do(order, (os.open(os.devnull, os.O_RDONLY), out.fileno(), err.fileno()))
        _, status = os.waitpid(child, os.WUNTRACED)
        if os.WIFSTOPPED(status):
            return {"stopped": child}
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)  # what it leaves, such as OpenLineage's pool of processes
        told = {name: _text(file) for name, file in (("out", out), ("err", err))}
    return {"status": os.waitstatus_to_exitcode(status), **told}


def _do(order: dict[str, Any], streams: Sequence[int], alone: bool = False) -> NoReturn:
    """What a child does and ends with; `alone`: as a process of its own."""
    os.setpgid(0, 0)
    code = 1
    try:
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        os.chdir(order["folder"])
        if alone:
            os.environ.clear()
        os.environ.update(order["variables"])
        _run(order)
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    finally:
        if sys.exc_info()[0]:
            traceback.print_exc()
        if alone:  # without what then ends the interpreter: it takes ten times as long as a small command
            threading._shutdown()
            atexit._run_exitfuncs()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _run(order: dict[str, Any]) -> None:
    if "code" in order:
        exec(order["code"], {})
        return
    from mmprod.cli.app import main

    sys.argv = order["line"]
    main()


def _text(file: IO[str]) -> str:
    file.seek(0)
    return file.read()


def _ended(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def _serve(path: str) -> None:
    names = {file.read_text().strip() for file in Path("/proc/self/task").glob("[0-9]*/comm")}
    if more := sorted(names - {Path("/proc/self/comm").read_text().strip(), "jemalloc_bg_thd"}):
        raise SystemExit(f"no child can be forked: an import has started threads {', '.join(more)}")
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(path)
        server.listen()
        print("ready", flush=True)
        while sys.stdin not in select.select([server, sys.stdin], [], [])[0]:
            with server.accept()[0] as connection:
                if os.fork() == 0:
                    server.close()
                    _look_after(connection)
            _reap(os.WNOHANG)
    _reap()


def _reap(options: int = 0) -> None:
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, options)[0]:
            pass


def _look_after(connection: socket.socket) -> NoReturn:
    """Start a command, end it when its stand-in asks for that or has gone, and tell how it ended."""
    _, streams, _, _ = socket.recv_fds(connection, 1, 3)
    order = json.loads(connection.makefile().readline())
    if (child := os.fork()) == 0:
        connection.close()
        _do(order, streams, alone=True)
    os.setpgid(child, child)  # as the child does: whoever is first
    for stream in streams:
        os.close(stream)
    ended = os.pidfd_open(child)
    while ended not in select.select([connection, ended], [], [])[0]:
        os.killpg(child, signal.SIGTERM if connection.recv(1) else signal.SIGKILL)
    with contextlib.suppress(OSError):
        connection.sendall(f"{_ended(child)}\n".encode())
    os._exit(0)


if __name__ == "__main__":
    main()
