"""When the inbox starts a run: files lie there, or one that an earlier run could not finish."""

import json
from pathlib import Path

CODE = """
import asyncio, json
from pathlib import Path
from types import SimpleNamespace
from mmprod.airflow import arrivals

lake = Path(LAKE)
arrivals.Settings = SimpleNamespace(read=lambda: SimpleNamespace(lake=str(lake)))

async def events(seconds):
    told = []
    async def watch():
        async for event in arrivals.InboxTrigger(every=0.02, again=0.2).run():
            told.append(event.payload["files"])
    try:
        await asyncio.wait_for(watch(), seconds)
    except TimeoutError:
        return told
print(json.dumps(asyncio.run(events(0.7))))
"""


def test_a_file_left_in_the_middle_starts_a_run_again(airflow: Path, forking, tmp_path: Path) -> None:
    taken = tmp_path / "reviews" / "inbox" / "taken"
    taken.mkdir(parents=True)
    imports = "import mmprod.airflow.arrivals"
    with forking(airflow, imports, Path(__file__).parent, AIRFLOW_HOME=str(tmp_path)) as forked:

        def events() -> list[int]:
            done = forked.python(f"LAKE = {str(tmp_path)!r}\n{CODE}", tmp_path)
            assert done.status == 0, done.err
            return json.loads(done.out.splitlines()[-1])

        (taken / ".lock").write_text("")
        (taken / ".NAME.begun").write_text(".")
        assert events() == []
        (taken / "NAME").write_text("left")
        assert 2 <= len(events()) <= 4
        (taken.parent / "new.csv").write_text("new")
        assert events()[0] == 1
