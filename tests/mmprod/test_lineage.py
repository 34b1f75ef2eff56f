"""What a task tells of its command, and what manifests say an artifact was made from."""

import json
from pathlib import Path

import pytest

from mmprod.airflow.lineage import Dataset, sources
from mmprod.airflow.outcomes import lines, made, summary
from mmprod.stages.outcome import Outcome
from mmprod.storage import artifacts

FINGERPRINT = "ab" * 32


def publish(root: Path, kind: str, inputs: dict, content: bytes = b"data", **counts: object) -> Dataset:
    with artifacts.publishing(root, kind, inputs, {}) as draft:
        (draft.path / "data").write_bytes(content)
        draft.counts |= counts
    artifacts.switch(root, draft.generation)
    return Dataset.read(root, draft.generation)


def told(*outcomes: Outcome) -> dict:
    return json.loads(json.dumps({"stages": [outcome.to_dict() for outcome in outcomes]}))


@pytest.fixture
def lake(tmp_path: Path) -> Path:
    """Two encoders, vectors, two indexes made of the same in the same second, a recall table of the first."""
    publish(tmp_path / "encoders" / "tiny", "encoder", {}, fingerprint=FINGERPRINT)
    publish(tmp_path / "encoders" / "other", "encoder", {}, fingerprint="cd" * 32)
    vectors = tmp_path / "embeddings" / f"tiny-{FINGERPRINT[:12]}"
    vectors.mkdir(parents=True)
    pointer = {"encoder": FINGERPRINT, "revision": 7, "position": [4, 5], "files": {"a.lance": "00"}}
    (vectors / "CURRENT.json").write_text(json.dumps(pointer))
    inputs = {"encoder": FINGERPRINT, "vectors": 7, "store": [4, 5]}
    for profile in ("one", "two"):
        publish(tmp_path / "indexes" / profile, "index", inputs, profile.encode(), products=3)
    reference = artifacts.reference(tmp_path / "indexes" / "one")
    publish(tmp_path / "recall" / "one", "recall", {"index": reference, "encoder": FINGERPRINT}, rows=30)
    return tmp_path


def named(lake: Path, found: list[Dataset]) -> dict[str, str]:
    return {str(one.path.relative_to(lake)): one.version for one in found}


def test_an_index_comes_from_the_store_the_vectors_and_the_encoder(lake) -> None:
    index = Dataset.read(lake / "indexes" / "one", "g000001")
    assert (index.rows, index.size, len(index.files)) == (3, 3, 1)
    assert named(lake, list(sources(lake, index))) == {
        "encoders/tiny": "g000001",
        f"embeddings/tiny-{FINGERPRINT[:12]}": "7",
        "store": "4,5",
    }


def test_vectors_come_from_the_store_and_the_encoder(lake) -> None:
    vectors = Dataset.read(lake / "embeddings" / f"tiny-{FINGERPRINT[:12]}", "7")
    assert named(lake, list(sources(lake, vectors))) == {"store": "4,5", "encoders/tiny": "g000001"}
    assert vectors.size is None  # its file can't be seen from here
    older = Dataset.read(vectors.path, "6")
    assert (older.files, list(sources(lake, older))) == ((), [])


def test_a_reference_finds_just_the_generation_with_that_manifest(lake) -> None:
    recall = Dataset.read(lake / "recall" / "one", "g000001")
    found = named(lake, list(sources(lake, recall)))
    assert found == {"indexes/one": "g000001", "encoders/tiny": "g000001"}


def test_an_older_generation_is_told_from_the_one_in_use(lake) -> None:
    before = Dataset.read(lake / "recall" / "one", "g000001")
    publish(lake / "indexes" / "one", "index", {}, b"newer", products=4)
    after = publish(lake / "recall" / "one", "recall", {"index": artifacts.reference(lake / "indexes/one")})
    assert named(lake, list(sources(lake, before)))["indexes/one"] == "g000001"
    assert named(lake, list(sources(lake, after)))["indexes/one"] == "g000002"


def test_several_by_name_and_by_the_time_they_were_made(lake) -> None:
    """A survey knows the recall tables it was drawn from by their time."""
    made_at = Dataset.read(lake / "recall" / "one", "g000001").about["created_at"]
    drawn_from = {"one": f"g000001 {made_at}", "rival": None}
    survey = publish(lake / "reviews" / "surveys" / "one", "survey", {"recall": drawn_from})
    assert named(lake, list(sources(lake, survey))) == {"recall/one": "g000001"}
    inputs = {"survey": artifacts.reference(lake / "reviews" / "surveys" / "one"), "judgements": []}
    evaluation = publish(lake / "evaluations" / "one", "evaluation", inputs)
    assert named(lake, list(sources(lake, evaluation))) == {"reviews/surveys/one": "g000001"}


def test_a_promoted_encoder_comes_from_the_candidate_not_from_itself(lake) -> None:
    promoted = publish(
        lake / "encoders" / "tiny",
        "encoder",
        {"candidate": "other", "fingerprint": "cd" * 32},
        fingerprint="cd" * 32,
    )
    assert named(lake, list(sources(lake, promoted))) == {"encoders/other": "g000001"}


@pytest.mark.parametrize("content", ["", "{", '{"kind": "index"'])
def test_what_is_gone_or_damaged_is_left_out(lake, content) -> None:
    recall = Dataset.read(lake / "recall" / "one", "g000001")
    (lake / "encoders" / "tiny" / "g000001" / "manifest.json").unlink()
    (lake / "indexes" / "one" / "g000001" / "manifest.json").write_text(content)
    assert list(sources(lake, recall)) == []
    damaged = Dataset.read(lake / "indexes" / "one", "g000001")
    assert (damaged.rows, dict(damaged.about), list(sources(lake, damaged))) == (None, {}, [])


def test_lines_say_counts_gate_and_place() -> None:
    checks = [{"name": "recall@10", "value": 0.98765, "limit": 0.95, "ok": True}]
    outcome = Outcome("index one", rows=4300, changed=4300, seconds=1.25)
    outcome.detail = {"products": 4300, "gate": {"passed": True, "checks": checks}}
    outcome.made["/lake/indexes/one"] = "g000003"
    assert list(lines(told(outcome))) == [
        "index one: 4,300 rows in 1.2 s; 4,300 changed, 0 reused, 0 refused",
        "  products 4,300",
        "  gate passed: recall@10 0.9877",
        "  /lake/indexes/one at g000003",
    ]
    assert list(lines({"live": 12345, "shards": [1, 2], "share": 0.25})) == [
        "live: 12,345",
        "shards: 2",
        "share: 0.25",
    ]
    assert list(lines(None)) == []


def test_an_engine_is_told_with_its_towers() -> None:
    """`mmprod export` prints one outcome, and its checks are of towers."""
    checks = [{"tower": "image", "name": "cosine", "value": 0.9999, "limit": 0.99, "worst": ""}]
    content = Outcome("export onnx", detail={"gate": {"passed": True, "checks": checks}}).to_dict()
    assert list(lines(content))[1] == "  gate passed: image cosine 0.9999"
    assert list(summary(content)) == ["export onnx"]


def test_between_tasks_travel_no_rows() -> None:
    one = Outcome("collect a.csv", rows=3)
    one.detail = {"rows": 30, "sheets": ["a", "b"], "gate": {"passed": True}}
    one.made["/lake/reviews/judgements"] = "g000001"
    again = Outcome("collect a.csv", rows=2)
    again.made["/lake/reviews/judgements"] = "g000002"
    content = told(one, again)
    short = summary(content)
    assert list(short) == ["collect a.csv", "collect a.csv #2"]
    assert (short["collect a.csv"]["rows"], short["collect a.csv"]["sheets"]) == (3, 2)
    assert "gate" not in short["collect a.csv"]
    assert made(content) == {"/lake/reviews/judgements": "g000002"}
    assert summary({"products": 7, "nested": {"x": 1}}) == {"products": 7}
    assert summary(None) == {}


@pytest.mark.slow
def test_each_stage_names_what_it_made_and_the_same_when_it_found_it(world) -> None:
    (first,) = world.run(1)
    (again,) = world.run(1)
    for before, after in zip(first, again, strict=True):
        assert before.made, before.stage
        assert after.made.items() <= before.made.items()
        for folder, version in before.made.items():
            assert Path(folder).is_dir()
            assert Dataset.read(Path(folder), version).inputs or Path(folder) == world.lake.store
    assert again[0].made == {str(world.lake.store): first[0].made[str(world.lake.store)]}
