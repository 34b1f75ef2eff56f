"""Progress as lines for a log: seldom, and right."""

from itertools import count

from mmprod.cli.progress import lines


def told(rows: list[int], total: int | None, every: float = 10.0) -> list[str]:
    """Lines where a second passes with each look at the clock."""
    written: list[str] = []
    seconds = count()
    advance = lines(written.append, every, lambda: float(next(seconds)))("embed", total)
    for number in rows:
        advance(number)
    return written


def test_what_is_quickly_done_says_nothing() -> None:
    assert told([100] * 5, 500) == []


def test_a_line_tells_how_far_how_fast_and_how_long_yet() -> None:
    """Looked at after seconds 2 to 21: lines at 10 (9 of them worked, 9 advances) and at 20."""
    assert told([50] * 20, 1_600) == [
        "embed: 450 of 1,600 (28%), 50 a second, 23 s left\n",
        "embed: 950 of 1,600 (59%), 50 a second, 13 s left\n",
    ]


def test_minutes_and_hours() -> None:
    assert told([1] * 9, 1_000)[0].endswith("17 min left\n")
    assert told([1] * 9, 20_000)[0].endswith("5.5 h left\n")


def test_without_a_known_number_of_rows() -> None:
    assert told([2] * 9, None) == ["embed: 18, 2.0 a second\n"]


def test_stages_share_the_pause_between_lines() -> None:
    written: list[str] = []
    progress = lines(written.append, 10.0, iter([0.0, 0.0, 0.0, 11.0, 12.0]).__next__)
    first, second = progress("ingest", 10), progress("embed", 10)
    first(5)
    second(5)
    assert written == ["ingest: 5 of 10 (50%), 0.5 a second, 11 s left\n"]
