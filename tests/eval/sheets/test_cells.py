import pytest
from hypothesis import given
from hypothesis import strategies as st

from mmprod.eval.sheets.cells import guard, protect_id, unguard

HOSTILE = [
    "=1+1",
    "+1",
    "-1",
    "@SUM(A1)",
    "\t=1",
    "\r=1",
    "\n=1",
    "'=1",
    "＝1",
    "plain",
    "",
    '中文, "quoted"\nline',
]


@given(st.one_of(st.text(max_size=8), st.sampled_from(HOSTILE)))
def test_guarded_cells_come_back_and_run_nothing(cell):
    assert unguard(guard(cell)) == cell
    assert not guard(cell).startswith(("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠"))


@given(st.text(max_size=8))
def test_a_protected_id_is_no_number(cell):
    assert unguard(protect_id(cell)) in (cell, protect_id(cell))
    with pytest.raises(ValueError, match="could not convert"):
        float(protect_id(cell))


def test_what_is_harmless_stays_as_it_is():
    assert guard("plain") == "plain" and guard("") == ""
    assert guard("=1") == "'=1" and guard("'=1") == "''=1"
