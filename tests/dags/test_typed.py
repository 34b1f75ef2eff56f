"""What people type into a run is a word of a command, or refused with its name."""

import json
from pathlib import Path

import pytest

CODE = """
import json, sys
from types import SimpleNamespace
from airflow.sdk.exceptions import AirflowFailException
from mmprod.airflow import command, settings
from mmprod.airflow.arrivals import DayTable
from mmprod.airflow.settings import Settings
from mmprod.airflow.typed import check_day, check_run

def said(act, *given):
    try:
        act(*given)
    except AirflowFailException as error:
        return str(error)

def run(params, key=None):
    return said(check_run, {"params": params, "dag_run": SimpleNamespace(partition_key=key)})

def started(params):
    '''The command lines that a task of such a run starts, and why it failed.'''
    lines = []
    task = command.Mmprod(task_id="t", words=["finetune", "--base=" + params["base"]])
    task._run = lambda line, variables: lines.append(line) or {}
    ti = SimpleNamespace(dag_id="d", run_id="r", task_id="t", map_index=-1, try_number=1)
    settings.Variable = SimpleNamespace(get=lambda *a, **k: VARIABLE)
    context = {"params": params, "dag_run": SimpleNamespace(partition_key=None), "ti": ti}
    return said(task.execute, context), lines

VARIABLE = {"command": "mmprod", "config": "c", "lake": "l", "tables": "t/{day}", "backups": "b"}
"""


@pytest.fixture(scope="module")
def ask(airflow: Path, forking, tmp_path_factory: pytest.TempPathFactory):
    """The value of an expression, in Airflow's environment."""
    folder = tmp_path_factory.mktemp("typed")
    imports = "import airflow.sdk, mmprod.airflow.command, mmprod.airflow.arrivals"
    with forking(airflow, imports, Path(__file__).parent, AIRFLOW_HOME=str(folder)) as forked:

        def value(expression: str) -> object:
            done = forked.python(f"{CODE}\nprint(json.dumps({expression}))", folder)
            assert done.status == 0, done.err
            return json.loads(done.out.splitlines()[-1])

        yield value


BREAKS = ["\n", "\r", "\v", "\f", "\x1c", "\x85", "\u2028", "\u2029", "\x00", "\t", "\x1b"]


def test_a_line_break_in_a_parameter_is_refused_by_its_name(ask) -> None:
    for sign in BREAKS:
        text = f"lake:tiny{sign}--lake=elsewhere"
        told = ask(f"run({{'base': {text!r}}})")
        assert told and "parameter 'base' is" in told and repr(sign) in told, (sign, told)
    for value in (["Home > Lamps", "Toys\n--lake=elsewhere"], {"a": {"b\n": 1}}, [["\u2028"]]):
        assert "parameter 'categories'" in ask(f"run({{'categories': {value!r}}})")
    assert "the partition key is '2025-03-01\\n--full'" in ask("run({}, '2025-03-01\\n--full')")


def test_what_is_of_one_line_goes_through(ask) -> None:
    params = {"categories": ["Home > Lamps & 灯", "a\u3000b", "naïve – 'quoted' \"x\"", "👩\u200d🚀"], "n": 5}
    assert ask(f"run({params!r}, '2025-03-01')") is None
    assert ask("run({'flag': True, 'none': None, 'empty': ''})") is None


def test_no_command_is_started_with_further_words(ask) -> None:
    told, lines = ask("started({'base': 'hf-hub:x\\n--lake=elsewhere'})")
    assert "parameter 'base'" in told and lines == []
    told, [line] = ask("started({'base': 'hf-hub:x y'})")
    assert told is None and line[:3] == ["mmprod", "finetune", "--base=hf-hub:x y"]


def test_a_day_is_a_day(ask) -> None:
    assert ask("check_day('2025-03-01')") == "2025-03-01"
    for text in ("../../etc", "2025-3-1", "20250301", "2025-03-01T00:00", "2025-02-30", "", "2025-03-01\n"):
        told = ask(f"said(check_day, {text!r})")
        assert told == f"the day of the run is {text!r}, want one such as 2025-03-01"


def test_the_airflow_variable_is_of_single_lines_too(ask) -> None:
    assert ask("said(Settings.of, VARIABLE)") is None
    assert "holds '\\n'" in ask("said(Settings.of, VARIABLE | {'lists': 'a\\n--out=b'})")
