import re

from hypothesis import given
from hypothesis import strategies as st

from mmprod.eval.survey.pair_ids import pair_id, repeat_id, shown

sides = st.tuples(st.text(max_size=4), st.text(max_size=4))
hashes = st.none() | st.binary(max_size=3)


@given(a=sides, b=sides, c=sides, d=sides)
def test_questions_have_the_same_name_only_if_the_same_two_things_are_shown(a, b, c, d):
    assert (pair_id(a, b) == pair_id(c, d)) == (sorted((a, b)) == sorted((c, d)))


@given(a=sides, b=sides)
def test_the_order_of_the_sides_does_not_matter(a, b):
    assert pair_id(a, b) == pair_id(b, a)


@given(a=hashes, b=hashes, c=hashes, d=hashes)
def test_what_is_shown_tells_picture_from_title_and_nothing_from_empty(a, b, c, d):
    assert (shown(a, b) == shown(c, d)) == ((a, b) == (c, d))


@given(a=sides, b=sides)
def test_a_repeat_looks_like_a_question_and_is_another(a, b):
    name = pair_id(a, b)
    again = repeat_id(name)
    assert all(re.fullmatch("p[0-9a-f]{20}", n) for n in (name, again))
    assert again != name and again == repeat_id(name) and repeat_id(again) != name


def test_names_never_change():
    """Judgements of earlier surveys are found by them."""
    assert shown(b"0123456789abcdef", None) == "87d6ca3618fc13dc"
    assert pair_id(("0012345", "87d6ca3618fc13dc"), ("款式", "87d6ca3618fc13dc")) == "p14241e9996193c65ce47"
    assert repeat_id("p14241e9996193c65ce47") == "p4480ab4f4eefc39c522b"
