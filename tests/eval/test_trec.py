import ir_measures
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mmprod.eval.runs import evaluate_run
from mmprod.eval.trec import read_qrels, read_run, write_qrels, write_run
from mmprod.storage.errors import InputError

MEASURES = ["AP", "P@10", "R@100", "nDCG@10", "AP(rel=2)"]

word = st.text(st.characters(codec="utf-8"), min_size=1, max_size=6).filter(
    lambda text: text.split() == [text] and not text.startswith("\ufeff")
)
plain = st.text("abc019._-", min_size=1, max_size=4)
scores = st.sampled_from([0.0, -1.5, 0.1, 1 / 3, 1e-30, 2.0]) | st.floats(-1e6, 1e6)


@settings(max_examples=100, deadline=None)
@given(
    run=st.dictionaries(word, st.dictionaries(word, scores, min_size=1, max_size=9), min_size=1, max_size=4)
)
def test_runs_come_back_as_written(run, tmp_path_factory):
    path = tmp_path_factory.mktemp("run") / "run.txt"
    write_run(path, run)
    assert read_run(path) == run


@settings(max_examples=150, deadline=None)
@given(
    run=st.dictionaries(
        plain, st.dictionaries(plain, scores, min_size=1, max_size=20), min_size=1, max_size=4
    ),
    qrels=st.dictionaries(
        plain, st.dictionaries(plain, st.integers(0, 3), min_size=1, max_size=20), min_size=1, max_size=5
    ),
)
def test_files_are_measured_as_trec_eval_measures_them(run, qrels, tmp_path_factory):
    """Read by ir-measures' own readers: ties, queries without an answer or without qrels, grades."""
    folder = tmp_path_factory.mktemp("trec")
    write_run(folder / "run", run)
    write_qrels(folder / "qrels", qrels)
    theirs = ir_measures.pytrec_eval.evaluator(
        [ir_measures.parse_measure(name) for name in MEASURES],
        list(ir_measures.read_trec_qrels(str(folder / "qrels"))),
    )
    wanted = {
        (str(m.measure), m.query_id): m.value
        for m in theirs.iter_calc(list(ir_measures.read_trec_run(str(folder / "run"))))
    }
    ours = evaluate_run(read_run(folder / "run"), read_qrels(folder / "qrels"), MEASURES)
    for name in MEASURES:
        for query, value in zip(ours.queries, ours.values[name], strict=True):
            assert value == wanted.get((name, query), 0.0)


def test_a_known_file_by_hand(tmp_path):
    (tmp_path / "run").write_text("\ufeffq1 Q0 b 9 0.5 x\nq1\tQ0 a 1 2e0 x\r\n\nq2 Q0 a 1 1 x\n", "utf-8")
    (tmp_path / "qrels").write_text("q1 0 a 2\nq1 0 b 1\nq3 0 z 1\n")
    run, qrels = read_run(tmp_path / "run"), read_qrels(tmp_path / "qrels")
    assert run == {"q1": {"b": 0.5, "a": 2.0}, "q2": {"a": 1.0}}
    assert qrels == {"q1": {"a": 2, "b": 1}, "q3": {"z": 1}}
    found = evaluate_run(run, qrels, ["AP", "AP(rel=2)", "P@10"])
    assert found.queries == ("q1", "q3")  # q3 was not answered and counts as 0
    assert [list(found.values[name]) for name in ("AP", "AP(rel=2)", "P@10")] == [[1, 0], [1, 0], [0.2, 0]]


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"q Q0 a 1 0.5", "line 2 has 5 columns, want 6"),
        (b"q Q0 a 1 0.5 x y", "line 2 has 7 columns"),
        (b"q Q0 a 1 high x", "line 2: score 'high' is not a finite number"),
        (b"q Q0 a 1 nan x", "'nan' is not a finite"),
        (b"q Q0 a 1 1e999 x", "'1e999' is not a finite"),
        (b"q Q0 first 1 0.5 x", "line 2: product 'first' comes twice for query 'q'"),
        (b"q Q0 \xff 1 0.5 x", "line 2 is not UTF-8"),
    ],
)
def test_hostile_run_lines_are_refused_with_their_line(tmp_path, line, message):
    (tmp_path / "run").write_bytes(b"q Q0 first 1 0.5 x\n" + line + b"\n")
    with pytest.raises(InputError, match=message):
        read_run(tmp_path / "run")


@pytest.mark.parametrize(
    ("line", "message"),
    [
        (b"q 0 a", "line 2 has 3 columns, want 4"),
        (b"q 0 a 1.0", "relevance '1.0' is not a whole number"),
        (b"q 0 a 99999999999", "relevance '99999999999' is not"),
        (b"q 0 a " + b"9" * 5000, "is not a whole number"),
        (b"q 0 first 0", "product 'first' comes twice"),
    ],
)
def test_hostile_qrels_lines_are_refused_with_their_line(tmp_path, line, message):
    (tmp_path / "qrels").write_bytes(b"q 0 first 1\n" + line + b"\n")
    with pytest.raises(InputError, match=message):
        read_qrels(tmp_path / "qrels")


def test_files_that_are_none_are_refused(tmp_path):
    (tmp_path / "empty").write_bytes(b"")
    for name in ("empty", "absent"):
        with pytest.raises(InputError, match=name):
            read_run(tmp_path / name)


@pytest.mark.parametrize("name", ["", "a b", "a\n", "\u2003"])
def test_ids_that_the_format_cannot_hold_are_not_written(tmp_path, name):
    for write, content in ((write_run, {"q": {name: 1.0}}), (write_qrels, {name: {"a": 1}})):
        with pytest.raises(InputError, match="white space"):
            write(tmp_path / "out", content)
    assert not list(tmp_path.iterdir())
