import hashlib

import pytest

from mmprod.datasets.tables import private_copy as module
from mmprod.datasets.tables.private_copy import ChangedError, private_copy
from mmprod.storage.errors import InputError


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "answers.csv"
    path.write_bytes(b"a,b\n" * 10)
    return path


def test_the_copy_stays_as_it_was_and_goes_with_the_block(path):
    with private_copy(path, 100) as copy:
        path.write_bytes(b"something else")
        assert copy.path.read_bytes() == b"a,b\n" * 10
        assert copy.sha256 == hashlib.sha256(b"a,b\n" * 10).hexdigest()
        assert str(copy) == str(path)
    assert not copy.path.exists()


def append(path):
    with path.open("ab") as file:
        file.write(b"c,d\n")


def exchange(path):
    other = path.with_name("other")
    other.write_bytes(b"x,y\n" * 10)  # of the same size
    other.rename(path)


@pytest.mark.parametrize("meanwhile", [append, exchange, lambda path: path.unlink()])
def test_a_file_that_changes_while_it_is_copied_is_refused(path, meanwhile, monkeypatch):
    copy = module._copy

    def disturbed(*args):
        copied = copy(*args)
        meanwhile(path)
        return copied

    monkeypatch.setattr(module, "_copy", disturbed)
    with pytest.raises(ChangedError, match="changed while it was read"), private_copy(path, 100):
        pytest.fail("a mixture was given")


def test_a_file_that_grows_without_end_is_not_followed(path, monkeypatch):
    monkeypatch.setattr(module, "_PIECE", 4)
    with path.open("ab", buffering=0) as writer:

        class Growing:
            def update(self, piece):
                writer.write(b"e,f\n" * 2)

            def hexdigest(self):
                return ""

        monkeypatch.setattr(module.hashlib, "sha256", Growing)
        with pytest.raises(ChangedError), private_copy(path, 100):
            pytest.fail("a mixture was given")
    assert path.stat().st_size < 200


def test_what_is_no_file_of_the_size_is_refused(path, tmp_path):
    for other, message in (
        (tmp_path / "none", "no such file"),
        (tmp_path, "no such file"),
        (path, "limit is 39"),
    ):
        with pytest.raises(InputError, match=message), private_copy(other, 39):
            pytest.fail("it was copied")
    path.write_bytes(b"")
    with pytest.raises(InputError, match="is empty"), private_copy(path, 39):
        pytest.fail("it was copied")
