"""Training knows its pace after a few steps, plans by it, and says what slows it down."""

import logging
import time

import pytest

from mmprod.datasets.threads import cores, limit, threads
from mmprod.encoders.train import LEAST, MOST, Plan
from mmprod.encoders.training.pace import MEASURED, Pace


def paced(work: list[float], busy: bool) -> Pace:
    """A pace of steps of so many seconds, in which this process works or waits."""
    pace = Pace()
    for seconds in work:
        end = time.perf_counter() + seconds
        while time.perf_counter() < end:
            if not busy:
                time.sleep(seconds)
        pace.tick()
    return pace


def test_the_first_steps_do_not_count() -> None:
    pace = paced([0.3, 0.2, *[0.01] * (MEASURED - 2)], busy=False)
    assert pace.known
    assert 0.01 <= pace.seconds < 0.1


def test_it_is_known_after_so_many_steps_and_only_then() -> None:
    pace, known = Pace(), []
    for _ in range(MEASURED + 2):
        pace.tick()
        known.append(pace.known)
    assert known == [step == MEASURED for step in range(1, MEASURED + 3)]


def test_a_plan_is_as_many_steps_as_fit_between_bounds() -> None:
    plan = Plan(seconds=100)
    assert plan.fitting(0.5) == 200
    assert (plan.fitting(60), plan.fitting(0.001)) == (LEAST, MOST)
    assert Plan(steps=7).fitting(60) == 7


@pytest.fixture
def one_thread():
    before = threads()
    limit(1)
    yield
    limit(before)


@pytest.mark.usefixtures("one_thread")
def test_a_process_that_hardly_gets_its_core_is_told_why(caplog: pytest.LogCaptureFixture) -> None:
    paced([0.03] * MEASURED, busy=False).warn()
    assert "other work takes the cores" in caplog.text
    assert "threads = 1" in caplog.text


@pytest.mark.usefixtures("one_thread")
def test_more_threads_than_cores_are_told(caplog: pytest.LogCaptureFixture) -> None:
    limit(cores() + 1)
    paced([0.01] * MEASURED, busy=True).warn()
    assert f"on {cores() + 1} threads, but this process may use {cores()}" in caplog.text


@pytest.mark.usefixtures("one_thread")
def test_who_works_undisturbed_is_told_nothing(caplog: pytest.LogCaptureFixture) -> None:
    """CPU time stands for wall time here, so that other work on the machine does not matter."""
    pace = Pace()
    pace._wall = pace._busy = [float(step) for step in range(MEASURED + 1)]
    with caplog.at_level(logging.WARNING):
        pace.warn()
    assert not caplog.records
