"""The model repository: what is committed is what the default configuration renders."""

from pathlib import Path

from mmprod.sections import Serving
from mmprod.serving.repository import MODELS, render
from mmprod.stages.online.model_repository import files, tuning_of

REPOSITORY = Path(__file__).parents[2] / "triton_models"


def test_the_committed_files_are_the_rendered_ones() -> None:
    wanted = {str(name): content for name, content in files(Serving())}
    found = {str(path.relative_to(REPOSITORY)): path.read_text() for path in REPOSITORY.rglob("*.pbtxt")}
    assert found == wanted, "run `mmprod triton render`"


def test_every_model_has_its_code() -> None:
    assert {path.parents[1].name for path in REPOSITORY.glob("*/1/model.py")} == {m.name for m in MODELS}


def test_only_towers_go_to_a_gpu() -> None:
    tuning = tuning_of(Serving())
    on_gpu = {model.name for model in MODELS if "KIND_GPU" in render(model, tuning, "gpu")}
    assert on_gpu == {"text_encoder", "image_encoder"}
    assert not any("KIND_GPU" in render(model, tuning, "cpu") for model in MODELS)


def test_times_are_in_microseconds() -> None:
    text = render(MODELS[0], tuning_of(Serving(delay=1.5, batch=9, threads=3)), "cpu")
    for line in (
        "max_queue_delay_microseconds: 1500",
        "max_batch_size: 9",
        'parameters { key: "threads" value { string_value: "3" } }',
    ):
        assert line in text


def test_only_encoders_have_instances_threads_and_a_cache() -> None:
    texts = {m.name: render(m, tuning_of(Serving(instances=3, cache_bytes=77)), "gpu") for m in MODELS}
    encoders = {name for name, text in texts.items() if "count: 3 kind: KIND_GPU" in text}
    assert encoders == {"text_encoder", "image_encoder"}
    line = 'parameters { key: "cache_bytes" value { string_value: "77" } }'
    assert encoders == {name for name, text in texts.items() if line in text}
    assert not any("response_cache" in text for text in texts.values())  # it would keep refusals


def test_nothing_keeps_triton_from_fetching_ahead() -> None:
    """With a queue policy requests were seen to be overlooked for half a second."""
    assert not any("queue_policy" in render(model, tuning_of(Serving()), "cpu") for model in MODELS)
