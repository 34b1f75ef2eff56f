"""What is lacking: an end mark, half of a file, or this machine's memory; each is told from the others."""

import errno
import io
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from mmprod.datasets.images.images import BadImage, decode, read_image_path

SEED = 20240229
ALONE = {"OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}
STARVED = """
import resource, sys
from mmprod.datasets.images.images import decode
small, large = (open(path, "rb").read() for path in sys.argv[1:])
decode(small)  # whatever is loaded with the first picture
for megabytes in (10, 20, 35, 50, 60, 80, 400):
    used = int(open("/proc/self/statm").read().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + megabytes * 1_000_000, -1))
    try:
        decode(large)
        print("decoded")
    except MemoryError:
        print("MemoryError")
    except Exception as error:
        print(repr(error))
"""


def encoded(picture: Image.Image, kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    picture.save(out, kind, **options)  # type: ignore[arg-type]
    return out.getvalue()


def photo() -> Image.Image:
    """Smooth colours: red to the right, green downwards."""
    y, x = np.mgrid[0:48, 0:64]
    return Image.fromarray(np.stack([4 * x, 5 * y, 0 * x], axis=-1).astype(np.uint8))


def reason(data: bytes) -> str:
    with pytest.raises(BadImage) as caught:
        decode(data)
    return caught.value.reason


@pytest.mark.parametrize("options", [{}, {"progressive": True}, {"restart_marker_rows": 1}])
def test_a_jpeg_that_lacks_only_its_end_mark_is_kept(options: dict[str, object]) -> None:
    noise = Image.fromarray(np.random.default_rng(SEED).integers(0, 256, (60, 60, 3), dtype=np.uint8))
    data = encoded(noise, "JPEG", **options)
    whole = np.asarray(decode(data))
    for lacking in (1, 2):
        np.testing.assert_array_equal(np.asarray(decode(data[:-lacking])), whole)
    small = decode(data, draft_size=16)
    np.testing.assert_array_equal(np.asarray(decode(data[:-2], draft_size=16)), np.asarray(small))
    for lacking in (6, 10, 50, 200):
        assert reason(data[:-lacking]) == "truncated"


def test_a_progressive_jpeg_without_its_last_scans_is_truncated() -> None:
    data = encoded(photo(), "JPEG", progressive=True)
    scans = [at for at in range(len(data)) if data[at : at + 2] == b"\xff\xda"]
    assert len(scans) > 3
    for start in scans[1:]:
        assert reason(data[:start]) == "truncated"


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "GIF", "WEBP", "BMP", "AVIF"])
def test_truncated_and_damaged_are_told_apart(kind: str) -> None:
    noise = Image.fromarray(np.random.default_rng(SEED).integers(0, 256, (60, 60, 3), dtype=np.uint8))
    data = encoded(noise, kind)
    assert reason(data[: len(data) // 2]) == "truncated"
    if kind == "PNG":
        damaged = data[:60] + bytes(40) + data[100:]
        assert reason(damaged) == "damaged"


@pytest.mark.parametrize(
    "error",
    [
        MemoryError("no room"),
        OSError(errno.EMFILE, "Too many open files"),
        OSError(errno.ENOMEM, "Cannot allocate memory"),
    ],
)
def test_what_the_machine_lacks_is_not_the_picture_s_fault(
    error: Exception, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(*given: object) -> None:
        raise error

    data = encoded(photo(), "PNG")
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", fails)
    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", fails)
    with pytest.raises((MemoryError, OSError)) as caught:
        decode(data)
    assert not isinstance(caught.value, BadImage)


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("JPEG", {}),
        ("JPEG", {"progressive": True}),
        ("PNG", {}),
        ("GIF", {}),
        ("WEBP", {}),
        ("TIFF", {"compression": "tiff_deflate"}),
        ("AVIF", {"speed": 10}),
    ],
    ids=["jpeg", "progressive", "png", "gif", "webp", "tiff", "avif"],
)
def test_a_process_without_memory_never_calls_a_sound_picture_damaged(
    kind: str, options: dict[str, object], tmp_path: Path
) -> None:
    (tmp_path / "small").write_bytes(encoded(photo(), kind, **options))
    (tmp_path / "large").write_bytes(encoded(Image.new("RGB", (3000, 3000), "red"), kind, **options))
    line = [sys.executable, "-c", STARVED, str(tmp_path / "small"), str(tmp_path / "large")]
    done = subprocess.run(line, capture_output=True, text=True, check=True, env={**os.environ, **ALONE})
    told = done.stdout.split()
    assert set(told) <= {"MemoryError", "decoded"}, told
    assert told[0] == "MemoryError"
    assert told[-1] == "decoded"


@pytest.mark.parametrize(
    ("number", "outcome"),
    [(errno.EIO, OSError), (errno.EMFILE, OSError), (errno.ESTALE, OSError), (errno.EACCES, BadImage)],
)
def test_a_failing_disk_is_not_a_missing_picture(
    number: int, outcome: type[Exception], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "a.jpg").write_bytes(b"there")

    def fails(*given: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(Path, "open", fails)
    with pytest.raises(outcome) as caught:
        read_image_path("a.jpg", tmp_path)
    assert isinstance(caught.value, BadImage) == (outcome is BadImage)
