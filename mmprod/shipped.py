"""Files shipped with mmprod that are not code: DAGs, recipes, the model repository, deployment files.

In the repository they are top-level folders; in a wheel they are inside the package.
"""

from collections.abc import Iterator, Mapping
from pathlib import Path

from mmprod.storage.errors import InputError
from mmprod.storage.files import replace_file

_PACKAGE = Path(__file__).resolve().parent
REPOSITORY = (_PACKAGE.parent / "Makefile").is_file()
"""Whether this code runs from the repository, with its tests and Makefile, instead of from a wheel."""
MAKE_TRITON = (
    "make triton"
    if REPOSITORY
    else "mmprod deploy . && sh deploy/triton-environment.sh .venv-triton mmprod-VERSION-py3-none-any.whl"
)
"""The shell command that creates the environment of the online service."""


def shipped(name: str) -> Path:
    """The path of the shipped folder or file of that name, e.g. ``dags``."""
    inside = _PACKAGE / name
    return inside if inside.exists() else _PACKAGE.parent / name


def tree(name: str) -> dict[str, Path]:
    """Every file of a shipped folder by its path below the folder, e.g. ``settings/mmprod.toml``."""
    folder = shipped(name)
    return {
        str(path.relative_to(folder)): path
        for path in sorted(folder.rglob("*"))
        if path.is_file() and "__pycache__" not in path.parts
    }


def copy(files: Mapping[str, Path], folder: Path, overwrite: bool = False) -> list[Path]:
    """Copy each file to its name below `folder`; returns the files written, without those already identical.

    Raises: InputError if files exist there with other content and `overwrite` is false; it names them, and
    nothing has been written.
    """
    if folder.exists() and not folder.is_dir():
        raise InputError(f"{folder} is no folder: name another one")
    differ = [] if overwrite else list(_differing(files, folder))
    if differ:
        raise InputError(
            f"in {folder} these differ from what mmprod brings: {', '.join(differ)}. Nothing was written: "
            "move them away, name another folder, or replace them with --overwrite"
        )
    written = []
    for name, source in files.items():
        content, target = source.read_bytes(), folder / name
        if not target.is_file() or target.read_bytes() != content:
            replace_file(target, content)
            written.append(target)
    return written


def _differing(files: Mapping[str, Path], folder: Path) -> Iterator[str]:
    for name, source in files.items():
        target = folder / name
        if target.exists() and not (target.is_file() and target.read_bytes() == source.read_bytes()):
            yield name
