"""Lineage: what a command read and made, according to the manifests.

Plain data, without Airflow or OpenLineage; `mmprod.airflow.facets` converts it to OpenLineage.
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
_DEPTHS = ("*", "*/*", "*/*/*")  # of artifacts' folders in the lake: groups, indexes/NAME, engines/NAME/FORM


@dataclass(frozen=True)
class Dataset:
    """A file or folder in one version: a generation, a revision of vectors, a position of the store.

    `about`: its manifest without the list of files; `files`: the paths in that list.
    """

    path: Path
    version: str = ""
    about: Mapping[str, Any] = field(default_factory=dict)
    files: tuple[Path, ...] = ()

    @classmethod
    def read(cls, root: Path, version: str) -> "Dataset":
        """The version of the folder `root`, with its manifest if there is one."""
        folder = root / version
        if manifest := _json(folder / "manifest.json"):
            files = manifest.pop("files")
            return cls(root, version, manifest, tuple(folder / name for name in files))
        pointer = _json(root / "CURRENT.json")  # an embedding table: older revisions have no manifest
        if str(pointer.get("revision")) != version:
            return cls(root, version)
        files = pointer.pop("files")
        return cls(root, version, pointer, tuple(root / "vectors.lance" / name for name in files))

    @property
    def inputs(self) -> Mapping[str, Any]:
        """Fingerprints or versions of what it was made from."""
        if "position" in self.about:  # an embedding table
            return {"store": self.about["position"], "encoder": self.about["encoder"]}
        inputs: Mapping[str, Any] = self.about.get("inputs", {})
        return inputs

    @property
    def counts(self) -> Mapping[str, Any]:
        """The counts in its manifest."""
        counts: Mapping[str, Any] = self.about.get("counts", {})
        return counts

    @property
    def rows(self) -> int | None:
        """The number of rows in its manifest; None if there is none."""
        rows: int | None = self.counts.get("rows", self.counts.get("products"))
        return rows

    @property
    def size(self) -> int | None:
        """Bytes of its files on disk; None if one is not accessible."""
        with contextlib.suppress(OSError):
            return sum(file.stat().st_size for file in self.files or [self.path])
        return None


def sources(lake: Path, made: Dataset) -> Iterator[Dataset]:
    """The datasets in the lake from which an artifact was made, if they still exist."""
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
    """The newest encoder of the lake with that fingerprint; nothing if the model is not in the lake."""
    folders = (folder for folder in lake.glob("encoders/*/g*") if folder.parent != apart_from)
    encoders = [Dataset.read(folder.parent, folder.name) for folder in folders]
    same = [encoder for encoder in encoders if encoder.counts.get("fingerprint") == fingerprint]
    yield from sorted(same, key=lambda encoder: str(encoder.about["created_at"]))[-1:]


def _referred(lake: Path, kind: str, reference: str) -> Iterator[Dataset]:
    """The generation with the reference ``g000003 MARK``; MARK is the sha256 or the time of its manifest."""
    if not (parts := _REFERENCE.fullmatch(reference)):
        return
    for depth in _DEPTHS:
        for manifest in lake.glob(f"{depth}/{parts[1]}/manifest.json"):
            found = Dataset.read(manifest.parents[1], parts[1])
            marks = found.about.get("created_at"), hashlib.sha256(manifest.read_bytes()).hexdigest()
            if parts[2] in marks and kind.startswith(found.about["kind"]):
                yield found


def _json(path: Path) -> dict[str, Any]:
    """The content of a manifest; empty if there is none, e.g. because it has just been pruned."""
    with contextlib.suppress(OSError, ValueError):
        content: dict[str, Any] = json.loads(path.read_text())
        return content
    return {}
