"""Only whole files are taken from the inbox, each once, and none is lost whenever a run dies."""

import json
import os
import subprocess
import sys
import threading
import zipfile
from pathlib import Path

import pyarrow as pa
import pytest

from mmprod.datasets.schemas import QUESTION
from mmprod.datasets.tables.private_copy import ChangedError
from mmprod.stages.review import inbox
from mmprod.storage import parquet
from mmprod.storage.errors import StateError
from mmprod.storage.files import sha256_file


def drop(folder, name, content=b"pair_id,label\n"):
    folder.mkdir(exist_ok=True)
    (folder / name).write_bytes(content)
    return folder / name


def took(folder, stable_seconds=0.0):
    """The contents of the files that are taken, each finished."""
    return [inbox.finish(file).read_bytes() for file in inbox.take(folder, stable_seconds)]


def test_files_are_taken_once_oldest_first_and_kept(tmp_path):
    for age, name in enumerate(["c.csv", "a.xlsx.csv", "b.json"]):
        os.utime(drop(tmp_path, name, name.encode()), (1000 - age, 1000 - age))
    assert took(tmp_path) == [b"b.json", b"a.xlsx.csv", b"c.csv"]
    assert took(tmp_path) == []
    assert sorted(path.name.split("-", 2)[2] for path in (tmp_path / inbox.DONE).iterdir()) == [
        "a.xlsx.csv",
        "b.json",
        "c.csv",
    ]
    assert [path.name for path in tmp_path.iterdir() if path.is_file()] == []


def test_the_same_name_again_is_another_file(tmp_path):
    for content in (b"first", b"second"):
        drop(tmp_path, "answers.csv", content)
        assert took(tmp_path) == [content]
    assert len(list((tmp_path / inbox.DONE).iterdir())) == 2


@pytest.mark.parametrize(
    "name",
    [
        ".hidden.csv",
        "~$answers.xlsx",
        ".~lock.answers.ods#",
        "a.csv.part",
        "a.crdownload",
        "a.CSV.TMP",
        "a.partial",
    ],
)
def test_unfinished_names_are_left_alone(tmp_path, name):
    path = drop(tmp_path, name)
    assert took(tmp_path) == [] and path.exists()


def test_folders_and_pipes_are_left_alone(tmp_path):
    (tmp_path / "folder.csv").mkdir()
    os.mkfifo(tmp_path / "pipe.csv")
    assert took(tmp_path) == []


def test_a_file_still_growing_is_left_until_it_stays(tmp_path):
    path, stop = drop(tmp_path, "slow.csv"), threading.Event()

    def upload():
        while not stop.wait(0.01):
            with path.open("ab") as file:  # closed again each time: only its size tells
                file.write(b"more\n")

    writer = threading.Thread(target=upload)
    writer.start()
    try:
        assert took(tmp_path, stable_seconds=0.1) == []
    finally:
        stop.set()
        writer.join()
    assert len(took(tmp_path, stable_seconds=0.1)) == 1


def test_a_file_open_for_writing_is_left_and_one_open_for_reading_not(tmp_path):
    path = drop(tmp_path, "open.csv")
    with path.open("ab"):
        assert took(tmp_path) == []
    with path.open("rb"):
        assert len(took(tmp_path)) == 1


def test_a_workbook_is_left_until_its_end_is_there(tmp_path):
    with zipfile.ZipFile(tmp_path / "book.zip", "w") as archive:
        archive.writestr("a", "b" * 1000)
    data = (tmp_path / "book.zip").read_bytes()
    (tmp_path / "book.zip").unlink()
    for name in ("answers.xlsx", "named.csv"):
        drop(tmp_path, name, data[:-30])
        assert took(tmp_path) == []
        drop(tmp_path, name, data)
        assert took(tmp_path) == [data]
    for content in (b"", bytes(5000)):  # nothing yet; room made for what is to come
        drop(tmp_path, "empty.xlsx", content)
        assert took(tmp_path) == []
    (tmp_path / "empty.xlsx").unlink()
    drop(tmp_path, "password.xlsx", b"\xd0\xcf\x11\xe0...")  # no zip: it will not become one
    assert took(tmp_path) == [b"\xd0\xcf\x11\xe0..."]


def test_links_are_refused_unread(tmp_path):
    secret = drop(tmp_path / "elsewhere", "secret.csv")
    folder = tmp_path / "inbox"
    folder.mkdir()
    (folder / "link.csv").symlink_to(secret)
    (folder / "dangling.csv").symlink_to("nowhere")
    assert took(folder) == []
    refused = sorted(path.name.split("-", 2)[2] for path in (folder / inbox.REFUSED).iterdir())
    assert refused == ["dangling.csv", "dangling.csv.why.txt", "link.csv", "link.csv.why.txt"]
    assert secret.read_bytes() == b"pair_id,label\n"


@pytest.mark.parametrize(
    ("name", "kept"),
    [
        ("up\\..\\..\\x.csv", "up_.._.._x.csv"),
        ("-rf *;$(x).csv", "-rf_x_.csv"),
        ("标签 表.csv", "标签_表.csv"),
        ("a\nb.csv", "a_b.csv"),
        (os.fsdecode(b"\xff\xfe.csv"), "_.csv"),
        ("标" * 80 + ".csv", "标" * 38 + ".csv"),
    ],
)
def test_names_are_chosen_here(tmp_path, name, kept):
    drop(tmp_path, name)
    (file,) = inbox.take(tmp_path, 0)
    assert file.name.split("-", 2)[2] == kept


def test_rejected_rows_are_returned_and_refusals_say_why(tmp_path):
    rejected = drop(tmp_path / "lake", "rejected.csv", b"line,reason\n")
    folder = tmp_path / "inbox"
    for name in ("good.csv", "bad.csv"):
        drop(folder, name)
        (file,) = inbox.take(folder, 0)
        if name == "good.csv":
            inbox.finish(file, rejected)
            assert (folder / inbox.RETURNED / f"{file.name}.rejected.csv").read_bytes() == b"line,reason\n"
        else:
            inbox.refuse(file, "no column label")
            for place in (inbox.REFUSED, inbox.RETURNED):  # for who keeps the inbox, and who handed it in
                assert (folder / place / f"{file.name}.why.txt").read_text() == "no column label\n"
    assert [path.name for path in (folder / inbox.TAKEN).iterdir()] == [".lock"]


def test_what_is_neither_finished_nor_refused_comes_again(tmp_path):
    drop(tmp_path, "answers.csv", b"content")
    (first,) = inbox.take(tmp_path, 0)
    (again,) = inbox.take(tmp_path, 0)
    assert first == again and took(tmp_path) == [b"content"]


def names(folder):
    return [file.name.split("-", 2)[2] for file in inbox.take(folder, 0)]


def test_a_file_in_the_middle_of_which_runs_die_waits_until_the_others_are_read(tmp_path):
    for age, name in enumerate(["honest.csv", "deadly.csv"]):
        os.utime(drop(tmp_path, name), (1000 - age, 1000 - age))
    for _ in range(3):
        files = inbox.take(tmp_path, 0)
        assert next(files).name.endswith("deadly.csv")
        files.close()  # as if killed here
    assert names(tmp_path) == ["honest.csv", "deadly.csv"]
    took(tmp_path)
    assert [path.name for path in (tmp_path / inbox.TAKEN).iterdir()] == [".lock"]


def test_what_fails_twice_is_put_aside_with_both_reasons(tmp_path):
    drop(tmp_path, "odd.csv")
    (file,) = inbox.take(tmp_path, 0)
    inbox.fail(file, "MemoryError")
    (again,) = inbox.take(tmp_path, 0)
    assert again == file
    inbox.fail(again, "RecursionError")
    assert names(tmp_path) == []
    why = (tmp_path / inbox.RETURNED / f"{file.name}.why.txt").read_text()
    assert why == "RecursionError; the time before: MemoryError\n"
    assert [path.name for path in (tmp_path / inbox.TAKEN).iterdir()] == [".lock"]


def test_what_was_written_to_after_it_was_read_comes_again(tmp_path):
    drop(tmp_path, "late.csv", b"first")
    (file,) = inbox.take(tmp_path, 0)
    digest = sha256_file(file.path)
    file.path.write_bytes(b"first and more")
    with pytest.raises(ChangedError, match="after it had been read"):
        inbox.finish(file, sha256=digest)
    assert took(tmp_path) == [b"first and more"]


def test_two_takers_at_once_are_refused(tmp_path):
    drop(tmp_path, "answers.csv")
    files = inbox.take(tmp_path, 0)
    next(files)
    with pytest.raises(StateError, match="another process takes files"):
        next(inbox.take(tmp_path, 0))
    files.close()
    assert len(took(tmp_path)) == 1


class World:
    """Inboxes with the same files, and a driver that collects them and dies when told to."""

    def __init__(self, root):
        self.root, self.inboxes = root, 0
        numbers = range(500)
        ids = {"question_id": "p", "pair_id": "p", "anchor_id": "a", "product_id": "b"}
        rows = [{c: f"{s}{i}" for c, s in ids.items()} | {"role": "asked", "reviewer": ""} for i in numbers]
        questions = pa.Table.from_pylist(rows, QUESTION)
        parquet.write(root / "questions.parquet", questions.to_batches(), QUESTION)
        lines = [
            "pair_id,anchor_id,product_id,label,reviewer",
            *(f"p{i},a{i},b{i},{i % 2},ann" for i in numbers),
        ]
        lines[7] = lines[7].replace("a6", "6")
        self.files = {"a.csv": "\n".join(lines), "b.csv": "no table", "c.csv": "\n".join(lines[:5])}
        command = [sys.executable, Path(__file__).with_name("inbox_driver.py"), root / "questions.parquet"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def fresh(self):
        """An inbox with all the files, and an empty folder for what comes out of them."""
        self.inboxes += 1
        folder, out = self.root / f"inbox{self.inboxes}", self.root / f"out{self.inboxes}"
        out.mkdir()
        for name, content in self.files.items():
            drop(folder, name, content.encode())
        return folder, out

    def collect(self, folder, out, touch=0, seconds=0.0):
        """Collect an inbox: to the end, to the n-th touch of a file, or for some seconds. How it ended."""
        order = {"folder": str(folder), "out": str(out), "touch": touch, "seconds": seconds}
        print(json.dumps(order), file=self.process.stdin, flush=True)
        return self.process.stdout.readline().strip()

    def state(self, folder, out):
        """What came out, by content, and where each file went."""
        found = {path.name: path.read_bytes() for path in out.iterdir() if not path.name.startswith(".")}
        for place in (inbox.TAKEN, inbox.DONE, inbox.REFUSED, inbox.RETURNED):
            paths = [path for path in (folder / place).iterdir() if not path.name.startswith(".")]
            names = [f"{place}/{path.name.split('-', 2)[2]}" for path in paths]
            assert len(set(names)) == len(names)
            found |= {name: path.read_bytes() for name, path in zip(names, paths, strict=True)}
        return found


@pytest.fixture
def world(tmp_path):
    world = World(tmp_path)
    yield world
    world.process.communicate(timeout=60)


@pytest.fixture
def undisturbed(world):
    """What comes out of an inbox that is collected without accident."""
    files = world.fresh()
    assert world.collect(*files) == "whole"
    state = world.state(*files)
    assert sorted(name for name in state if "/" in name) == [
        "done/a.csv",
        "done/c.csv",
        "refused/b.csv",
        "refused/b.csv.why.txt",
        "returned/a.csv.rejected.csv",
        "returned/b.csv.why.txt",
    ]
    return state


@pytest.mark.slow
def test_killed_before_any_touch_of_a_file_the_next_run_comes_to_the_same(world, undisturbed):
    """Killed at its first touch of a file, at its second, …, until a run gets through; then run again."""
    touch, outcome = 0, "killed"
    while outcome == "killed":
        touch += 1
        files = world.fresh()
        outcome = world.collect(*files, touch=touch)
        assert world.collect(*files) == "whole"
        assert world.state(*files) == undisturbed, touch
    assert outcome == "whole" and touch > 40


def test_killed_again_and_again_at_any_moment_it_comes_to_the_same(world, undisturbed):
    for _ in range(3):
        files = world.fresh()
        for moment in range(1, 12):
            assert world.collect(*files, seconds=moment / 500) in ("killed", "whole")
        assert world.collect(*files) == "whole"
        assert world.state(*files) == undisturbed
