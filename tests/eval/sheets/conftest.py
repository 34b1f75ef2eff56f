"""Sheets with every troublesome title and id, and LibreOffice to open and save them with."""

import io
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest
from PIL import Image

from mmprod.eval.sheets.sheet import SEARCHED_FOR, Row, Side

IDS = [
    "0012345",
    "628000000000000",
    "1E5",
    "MAR1",
    "=1+1",
    "-7",
    "'quoted",
    "款式",
    "a,b",
    'c"d',
    "x y",
    "NA",
]
TITLES = [
    "plain lamp",
    "=HYPERLINK(1)",
    "+1",
    "@SUM(A1)",
    "\t=1",
    "'=1",
    "＝1",
    '中文, "quoted"\nline',
    "<script>window.broken = 1</script>",
    "</script><img src=x onerror='window.broken = 1'>",
    "{{ 7 * 7 }} \u202e right to left",
    "",
]


def picture(shade: int) -> bytes:
    """A JPEG of 96 x 96 pixels."""
    file = io.BytesIO()
    Image.new("RGB", (96, 96), (shade % 256, 120, 255 - shade % 256)).save(file, "JPEG")
    return file.getvalue()


@pytest.fixture(scope="session")
def rows() -> list[Row]:
    """12 questions about products, pictures missing here and there."""
    sides = [
        Side(name, title, picture(20 * i) if i % 4 else None, (("brand", f"<b>{i}</b>"), ("price", "9.90")))
        for i, (name, title) in enumerate(zip(IDS, TITLES, strict=True))
    ]
    return [Row(f"p{i:020x}", side, sides[(i + 5) % 12]) for i, side in enumerate(sides)]


@pytest.fixture(scope="session")
def text_rows(rows: list[Row]) -> list[Row]:
    """Questions about a text that was searched for."""
    text = Side("q1", "red <striped> mug", None, ((SEARCHED_FOR, ""),))
    return [Row(f"p{i:019x}t", text, row.product, "listing 1") for i, row in enumerate(rows[:3])]


@pytest.fixture(scope="session")
def libreoffice() -> Callable[[Path, str], Path]:
    """Opens a file and saves it as csv, ods or xlsx, in a folder beside it."""
    if not os.environ.get("OFFICE"):
        pytest.skip("`make test-office` installs LibreOffice and runs this")
    # Comma, quote and UTF-8: it would take CSV for Windows-1252 here; with a window it asks.
    form = "44,34,76"

    def save(path: Path, kind: str) -> Path:
        folder = path.parent / "saved"
        into = f"csv:Text - txt - csv (StarCalc):{form}" if kind == "csv" else kind
        command = ["soffice", "--headless", "--convert-to", into, "--outdir", str(folder), str(path)]
        if path.suffix == ".csv":
            command.insert(2, f"--infilter=CSV:{form}")
        subprocess.run(command, check=True, timeout=120, capture_output=True)
        return folder / f"{path.stem}.{kind}"

    return save
