"""A vector does not depend on what is encoded with it: any grouping, order or restart gives the same bits."""

import hashlib
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from mmprod.encoders.backends import kind_of, precision_of
from mmprod.encoders.encoder import Encoder
from mmprod.encoders.export.encoder import ExportedEncoder
from mmprod.encoders.export.spec import Backend, Spec
from mmprod.encoders.hardware import speeds
from mmprod.encoders.random_base import random_base
from mmprod.encoders.shapes import COLUMNS, ROWS, fixed, free
from mmprod.encoders.train import tiny_config, untrained

FAMILIES = ("tiny", "clip", "siglip", "chinese-clip", "blip")
WORDS = ("red", "blue", "steel", "lamp", "dress", "灯", "极简风", "客厅", "mug", "of", "oak,", "large")
PLAIN = {  # what makes a processor with AVX-512 or bf16 work as one without
    "ONEDNN_MAX_CPU_ISA": "AVX2",
    "ATEN_CPU_CAPABILITY": "avx2",
    "MKL_ENABLE_INSTRUCTIONS": "AVX2",
}
RNG = np.random.default_rng(3)
EMULATED = 0.3  # below this speed of fp32's, bfloat16 is emulated, and would take minutes
TITLES = [" ".join(RNG.choice(WORDS, RNG.integers(1, 20))) for _ in range(40)]
PICTURES = [Image.fromarray(RNG.integers(0, 256, (64, 64, 3), dtype=np.uint8)) for _ in range(24)]


def encoder_of(family: str) -> Encoder:
    """An encoder with random weights, the same in every process."""
    from mmprod.encoders.clip import wrap

    return wrap(*untrained(tiny_config(), 0)) if family == "tiny" else random_base(family, TITLES)  # type: ignore[arg-type]


def vectors(encoder: Encoder, groups: Sequence[np.ndarray], pictures: bool) -> np.ndarray:
    """All pictures, or all titles, encoded group by group, in the order of their numbers."""
    found = np.empty((len(PICTURES if pictures else TITLES), encoder.width), np.float32)
    for group in groups:
        if pictures:
            found[group] = encoder.pictures([PICTURES[number] for number in group])
        else:
            found[group] = encoder.titles([TITLES[number] for number in group])
    return found


def differing(encoder: Encoder, pictures: bool, rounds: int = 2) -> int:
    """How many vectors are not bit by bit the same in random groups as all together."""
    count = len(PICTURES if pictures else TITLES)
    whole = vectors(encoder, [np.arange(count)], pictures)
    assert len(np.unique(whole.round(4), axis=0)) > count // 2, "an encoder that tells nothing apart"
    changed = np.zeros(count, bool)
    for seed in range(rounds):
        rng = np.random.default_rng(seed)
        cuts = np.sort(rng.choice(np.arange(1, count), rng.integers(1, count // 2), replace=False))
        changed |= (vectors(encoder, np.split(rng.permutation(count), cuts), pictures) != whole).any(axis=1)
    return int(changed.sum())


@pytest.mark.parametrize("pictures", [True, False], ids=["pictures", "titles"])
@pytest.mark.parametrize("family", FAMILIES)
def test_torch_gives_the_same_bits_in_any_company(family: str, pictures: bool) -> None:
    assert differing(encoder_of(family), pictures) == 0


@pytest.mark.parametrize("family", ["tiny", "siglip"])
def test_torch_does_in_half_precision_too(family: str) -> None:
    if speeds().gain("amp_bf16") < EMULATED:
        pytest.skip("bfloat16 is emulated here")
    half = replace(encoder_of(family), precision="bf16")  # type: ignore[type-var]
    assert differing(half, pictures=True) == differing(half, pictures=False) == 0


@pytest.mark.slow
@pytest.mark.parametrize(
    ("family", "form"),
    [
        *((family, "onnx-fp32") for family in FAMILIES),
        *((family, form) for family in ("tiny", "clip") for form in ("openvino-fp32", "openvino-bf16")),
    ],
)
def test_so_do_engines(
    family: str, form: Backend, exported: Callable[..., tuple[Encoder, Path]], tmp_path: Path
) -> None:
    shutil.copytree(exported(family, kind_of(form))[1], tmp_path, dirs_exist_ok=True)
    replace(Spec.read(tmp_path), precision=precision_of(form)).write(tmp_path)  # of the same files
    engine = ExportedEncoder.open(tmp_path)
    assert differing(engine, pictures=True) == differing(engine, pictures=False) == 0


def process(threads: str, plain: bool) -> tuple[str, str]:
    """How many pictures and titles differ in a process of its own, and the digest of all its vectors."""
    code = "import test_shapes as t; e = t.encoder_of('tiny'); "
    code += "print(*(t.differing(e, p) for p in (True, False)), t.digest(e))"
    told = {"PYTHONPATH": str(Path(__file__).parent), "OMP_NUM_THREADS": threads, **(PLAIN if plain else {})}
    line = [sys.executable, "-c", code]
    done = subprocess.run(line, env={**os.environ, **told}, capture_output=True, text=True, check=True)
    *counts, found = done.stdout.split()
    return " ".join(counts), found


@pytest.mark.slow
def test_so_do_other_processes_on_one_thread_and_on_two_and_plain_processors() -> None:
    """A restarted process gives the same bits; one of another kind keeps to its own, in any company."""
    first, again = (process("1", plain=False) for _ in range(2))
    assert first == again
    assert first[0] == process("2", plain=True)[0] == "0 0"


def digest(encoder: Encoder) -> str:
    """Of all its vectors."""
    found = encoder.pictures(PICTURES).tobytes() + encoder.titles(TITLES).tobytes()
    return hashlib.sha256(found).hexdigest()


@given(st.lists(st.integers(1, 77), max_size=60), st.integers(1, 20))
def test_fixed_batches_hold_every_input_once_and_are_wide_enough(lengths: list[int], size: int) -> None:
    seen: list[int] = []
    for batch in fixed(lengths, 77, size):
        seen += batch.rows.tolist()
        assert batch.size == size == len(batch.filling)
        assert batch.rows[batch.filling].tolist()[: len(batch.rows)] == batch.rows.tolist()
        assert all(batch.columns - COLUMNS < lengths[row] <= batch.columns for row in batch.rows)
    assert sorted(seen) == list(range(len(lengths)))


def test_a_length_decides_the_width_alone() -> None:
    assert [(b.rows.tolist(), b.columns) for b in fixed([3, 4, 5, 30], 30)] == [
        ([0, 1], 4),
        ([2], 8),
        ([3], 30),
    ]
    assert [len(b.rows) for b in fixed([5] * (ROWS + 3), 77)] == [ROWS, 3]


@given(st.lists(st.integers(1, 77), max_size=200))
def test_free_batches_hold_every_input_once_and_nothing_else(lengths: list[int]) -> None:
    batches = list(free(lengths, 77))
    assert sorted(row for b in batches for row in b.rows.tolist()) == list(range(len(lengths)))
    assert all(b.size == len(b.rows) <= 64 for b in batches)
    assert all(b.columns == max(lengths[row] for row in b.rows) for b in batches)
