"""Takes along what commands hand out: at the top of the repository, in the wheel inside of mmprod/.

All else about the project is in pyproject.toml; `mmprod.shipped` finds the files in either place.
"""

from pathlib import Path

from setuptools import setup
from setuptools.command.build_py import build_py

FOLDERS = ("configs", "dags", "deploy", "triton_models")
FILES = ("constraints.txt", "constraints-airflow.txt", "constraints-triton.txt")


def shipped() -> list[str]:
    """Their paths. Raises: FileNotFoundError where a folder has nothing, as in half a build context."""
    found = [*map(Path, FILES)]
    for folder in FOLDERS:
        files = [p for p in Path(folder).rglob("*") if p.is_file() and "__pycache__" not in p.parts]
        if not files:
            raise FileNotFoundError(f"there is nothing in {folder}/, which belongs into the wheel")
        found += sorted(files)
    return [str(path) for path in found]


class BuildPy(build_py):
    """Modules, package data, and what is shipped."""

    def run(self) -> None:
        super().run()
        for name in [] if self.editable_mode else shipped():
            target = Path(self.build_lib, "mmprod", name)
            self.mkpath(str(target.parent))
            self.copy_file(name, str(target))

    def get_source_files(self) -> list[str]:
        """What a source distribution has to hold."""
        return [*super().get_source_files(), *shipped()]


setup(cmdclass={"build_py": BuildPy})
