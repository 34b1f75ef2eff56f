"""The model repository: what is committed is what the default configuration renders."""

from pathlib import Path

from mmprod.sections import Serving
from mmprod.serving.repository import MODELS, render
from mmprod.stages.model_repository import files, tuning_of

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
    text = render(MODELS[0], tuning_of(Serving(delay=1.5, deadline=2, queue=7, batch=9, threads=3)), "cpu")
    for line in (
        "max_queue_delay_microseconds: 1500",
        "default_timeout_microseconds: 2000000",
        "max_queue_size: 7",
        "max_batch_size: 9",
        'parameters { key: "threads" value { string_value: "3" } }',
    ):
        assert line in text
