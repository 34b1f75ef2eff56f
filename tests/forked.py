"""Work in children of one process that has imported everything: torch and Airflow take seconds to import.

    forked.py SNIPPET       Python that imports what is going to be needed

Each line of standard input is an order, as JSON, for which a child is forked before anything has started a
thread here: {"words": of mmprod, or "code": Python, "folder": to do it in, "variables": environment}.
The answer is {"status", "out", "err"}, or {"stopped": its process id} where the child has stopped itself;
{"reap": process id} then waits for its end.
"""

import contextlib
import json
import os
import signal
import sys
import tempfile
import traceback
from typing import IO, Any, NoReturn


def main() -> None:
    exec(sys.argv[1], {})
    for line in sys.stdin:
        order = json.loads(line)
        answer = {"status": _ended(order["reap"])} if "reap" in order else _forked(order)
        print(json.dumps(answer), flush=True)


def _forked(order: dict[str, Any]) -> dict[str, Any]:
    with tempfile.TemporaryFile("w+") as out, tempfile.TemporaryFile("w+") as err:
        if (child := os.fork()) == 0:
            _do(order, out, err)
        _, status = os.waitpid(child, os.WUNTRACED)
        if os.WIFSTOPPED(status):
            return {"stopped": child}
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child, signal.SIGKILL)  # what it leaves, such as OpenLineage's pool of processes
        told = {name: _text(file) for name, file in (("out", out), ("err", err))}
    return {"status": os.waitstatus_to_exitcode(status), **told}


def _do(order: dict[str, Any], out: IO[str], err: IO[str]) -> NoReturn:
    """What a child does and ends with."""
    os.setpgid(0, 0)
    code = 1
    try:
        for number, target in enumerate((os.open(os.devnull, os.O_RDONLY), out.fileno(), err.fileno())):
            os.dup2(target, number)
        os.chdir(order["folder"])
        os.environ.update(order["variables"])
        _run(order)
        code = 0
    except SystemExit as end:
        code = int(end.code or 0)
    finally:
        if sys.exc_info()[0]:
            traceback.print_exc()
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _run(order: dict[str, Any]) -> None:
    if "code" in order:
        exec(order["code"], {})
        return
    from mmprod.cli.app import main

    sys.argv = ["mmprod", *order["words"]]
    main()


def _text(file: IO[str]) -> str:
    file.seek(0)
    return file.read()


def _ended(child: int) -> int:
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


if __name__ == "__main__":
    main()
