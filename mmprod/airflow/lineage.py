"""Where an artifact comes from: what a command read and made, as its manifests say.

Plain data, without Airflow or OpenLineage; `mmprod.airflow.facets` puts it into their words.
"""

import contextlib
import hashlib
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

_REFERENCE = re.compile(r"(g\d{6,}) (\S+)")
_DEPTHS = ("*", "*/*", "*/*/*")  # of artifacts below the lake: groups, indexes/NAME, engines/NAME/FORM


@dataclass(frozen=True)
class Dataset:
    """A file or folder in one version: a generation, a revision of vectors, a position of the store.

    `about` is what its manifest says but for the list of files; `files` are the paths in that list.
    """

    path: Path
    version: str = ""
    about: Mapping[str, Any] = field(default_factory=dict)
    files: tuple[Path, ...] = ()

    @classmethod
    def read(cls, root: Path, version: str) -> "Dataset":
        """What lies in the folder `root` in that version, as far as a manifest tells."""
        folder = root / version
        if manifest := _json(folder / "manifest.json"):
            files = manifest.pop("files")
            return cls(root, version, manifest, tuple(folder / name for name in files))
        pointer = _json(root / "CURRENT.json")  # an embedding table: nothing tells of older revisions
        if str(pointer.get("revision")) != version:
            return cls(root, version)
        files = pointer.pop("files")
        return cls(root, version, pointer, tuple(root / "vectors.lance" / name for name in files))

    @property
    def inputs(self) -> Mapping[str, Any]:
        """What it was made from, by fingerprint or version."""
        if "position" in self.about:  # an embedding table
            return {"store": self.about["position"], "encoder": self.about["encoder"]}
        inputs: Mapping[str, Any] = self.about.get("inputs", {})
        return inputs

    @property
    def counts(self) -> Mapping[str, Any]:
        """What came out, in figures."""
        counts: Mapping[str, Any] = self.about.get("counts", {})
        return counts

    @property
    def rows(self) -> int | None:
        """How many rows its manifest counts; None where it doesn't."""
        rows: int | None = self.counts.get("rows", self.counts.get("products"))
        return rows

    @property
    def size(self) -> int | None:
        """Bytes of its files on disk; None where one can't be seen from here."""
        with contextlib.suppress(OSError):
            return sum(file.stat().st_size for file in self.files or [self.path])
        return None


def sources(lake: Path, made: Dataset) -> Iterator[Dataset]:
    """What of the lake an artifact was made from, as far as it is still there."""
    for name, value in made.inputs.items():
        if name == "store":
            yield Dataset(lake / "store", ",".join(map(str, value)))
        elif name == "vectors":
            yield from _vectors(lake, made.inputs["encoder"], value)
        elif name == "judgements" and value:
            yield Dataset.read(lake / "reviews" / "judgements", value[-1])
        elif name in ("encoder", "base", "fingerprint"):
            yield from _encoder(lake, value, made.path)
        elif isinstance(value, str):
            yield from _referred(lake, name, value)
        elif isinstance(value, dict):
            yield from (s for one in value.values() for s in _referred(lake, name, str(one)))


def _vectors(lake: Path, encoder: str, revision: int) -> Iterator[Dataset]:
    for root in lake.glob(f"embeddings/*-{encoder[:12]}"):
        yield Dataset.read(root, str(revision))


def _encoder(lake: Path, fingerprint: str, apart_from: Path) -> Iterator[Dataset]:
    """The newest encoder of the lake with that fingerprint; none where the model comes from elsewhere."""
    folders = (folder for folder in lake.glob("encoders/*/g*") if folder.parent != apart_from)
    encoders = [Dataset.read(folder.parent, folder.name) for folder in folders]
    same = [encoder for encoder in encoders if encoder.counts.get("fingerprint") == fingerprint]
    yield from sorted(same, key=lambda encoder: str(encoder.about["created_at"]))[-1:]


def _referred(lake: Path, kind: str, reference: str) -> Iterator[Dataset]:
    """The generation that is referred to as ``g000003 MARK``: the sha256 or the time of its manifest."""
    if not (parts := _REFERENCE.fullmatch(reference)):
        return
    for depth in _DEPTHS:
        for manifest in lake.glob(f"{depth}/{parts[1]}/manifest.json"):
            found = Dataset.read(manifest.parents[1], parts[1])
            marks = found.about.get("created_at"), hashlib.sha256(manifest.read_bytes()).hexdigest()
            if parts[2] in marks and kind.startswith(found.about["kind"]):
                yield found


def _json(path: Path) -> dict[str, Any]:
    """What a manifest says; nothing where there is none, or where it was pruned a moment ago."""
    with contextlib.suppress(OSError, ValueError):
        content: dict[str, Any] = json.loads(path.read_text())
        return content
    return {}
