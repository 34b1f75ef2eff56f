"""The lake: the folder that holds all state; its paths, its locks and its encoders."""

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mmprod.datasets.embeddings import import_record
from mmprod.datasets.forms import FORMS
from mmprod.storage import artifacts, fencing, locks, room
from mmprod.storage.errors import InputError, StateError
from mmprod.storage.files import make_folder

LAKE_ENCODER, IMPORTED, SENTENCES = "lake:", "import:", "sentence-transformers:"
OTHERS = IMPORTED, SENTENCES
"""Names of encoders that are no model of mmprod's own in torch: they can't be trained or exported."""


@dataclass(frozen=True)
class Lake:
    """The paths of everything below `root`, and the locks for writing there."""

    root: Path

    @property
    def store(self) -> Path:
        return self.root / "store"

    @property
    def changes(self) -> Path:
        return self.root / "changes"

    @property
    def runs(self) -> Path:
        return self.root / "runs"

    @property
    def surveys(self) -> Path:
        return self.root / "reviews" / "surveys"

    def survey(self, name: str) -> Path:
        """The survey of that name: a profile's name, or "search"."""
        return self.surveys / name

    @property
    def judgements(self) -> Path:
        """The answers of every label file that was collected, one generation a file."""
        return self.root / "reviews" / "judgements"

    @property
    def inbox(self) -> Path:
        """The folder into which reviewers drop their label files."""
        return self.root / "reviews" / "inbox"

    @property
    def evaluations(self) -> Path:
        return self.root / "evaluations"

    @property
    def reports(self) -> Path:
        """The HTML reports of evaluations."""
        return self.root / "reports"

    def evaluation(self, name: str) -> Path:
        """The figures of a survey; each evaluation is a generation."""
        return self.evaluations / name

    def encoder(self, name: str) -> Path:
        return self.root / "encoders" / name

    def training(self, name: str) -> Path:
        """Checkpoints and logs of the fine-tuning runs that produce the encoder `name`."""
        return self.root / "training" / name

    @property
    def imports(self) -> Path:
        """The records of vectors that were imported, one for each name."""
        return self.root / "imports"

    def embeddings(self, model: str, fingerprint: str) -> Path:
        """The embedding table of one encoder; the fingerprint in its name keeps encoders apart."""
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", model.removeprefix(LAKE_ENCODER)).strip("-.")[-60:]
        return self.root / "embeddings" / f"{name}-{fingerprint[:12]}"

    def engines(self, model: str, fingerprint: str, form: str) -> Path:
        """The exported engines of one encoder in one format, such as ``onnx-fp32``."""
        return self.root / "engines" / self.embeddings(model, fingerprint).name / form

    def backends(self, model: str, fingerprint: str, name: str) -> Path:
        """Figures of the backends of one encoder, measured on one kind of machine."""
        return self.root / "backends" / self.embeddings(model, fingerprint).name / name

    def index(self, profile: str) -> Path:
        return self.root / "indexes" / profile

    def recall(self, profile: str) -> Path:
        return self.root / "recall" / profile

    @property
    def quarantine(self) -> Path:
        """Lists of the unusable rows of product tables that were refused as a whole."""
        return self.root / "quarantine"

    @property
    def groups(self) -> Path:
        """Which products are the same item."""
        return self.root / "groups"

    @property
    def features(self) -> Path:
        """Vectors and groups of all live products, exported for other systems."""
        return self.root / "features"

    @property
    def found(self) -> Path:
        """The results of saved searches."""
        return self.root / "found"

    @property
    def releases(self) -> Path:
        """The releases of the online service: engine and indexes together."""
        return self.root / "releases"

    def artifact_roots(self) -> list[Path]:
        """Every folder below the lake that holds generations."""
        return sorted({path.parent.parent for path in self.root.glob(f"**/g*/{artifacts.MANIFEST}")})

    def embedding_roots(self) -> list[Path]:
        return sorted(path.parent for path in self.root.glob("embeddings/*/CURRENT.json"))

    def writing(self, wait: bool = False) -> contextlib.AbstractContextManager[None]:
        """Hold the lake's write lock.

        The lock is released when the process ends, however it ends. If another process holds it: StateError
        with that process's id, or, with `wait`, wait for it. An attempt that a newer one has superseded is
        refused, here and before each step that publishes something (`mmprod.storage.fencing`).
        """
        return self._only(self.root, wait)

    def reviewing(self, wait: bool = False) -> contextlib.AbstractContextManager[None]:
        """Hold the lock for surveys, judgements and evaluations; independent of the lake's write lock."""
        return self._only(self.root / "reviews", wait)

    def fine_tuning(self, name: str, wait: bool = False) -> contextlib.AbstractContextManager[None]:
        """Hold the lock for fine-tuning the encoder `name`; only publishing needs the lake's write lock."""
        return self._only(self.training(name), wait)

    def go_back(
        self, root: Path, generation: str | None = None, only_from: str | None = None, wait: bool = False
    ) -> str | None:
        """Switch back to an earlier generation below `root` (`artifacts.rollback`); returns the one in use.

        `only_from`: do nothing unless this generation is in use. Raises: StateError if neither `only_from`
        nor `generation` is given and another process has switched the generation since this call began.
        """
        seen = artifacts.in_use(root)
        with self.writing(wait):
            if only_from is not None and artifacts.in_use(root) != only_from:
                return artifacts.current(root)
            return artifacts.rollback(root, generation, None if generation else seen)

    def attempting(self) -> contextlib.AbstractContextManager[None]:
        """Register as the newest attempt, for work that needs no lock; see `mmprod.storage.fencing`."""
        return self._entered()

    @contextlib.contextmanager
    def _entered(self) -> Iterator[None]:
        with room.told(self.root), fencing.enter(self.root):
            yield

    @contextlib.contextmanager
    def _only(self, folder: Path, wait: bool) -> Iterator[None]:
        with self._entered(), _locked(folder, wait):
            yield

    def encoder_fingerprint(self, model: str) -> str | None:
        """The fingerprint of a ``lake:NAME`` encoder's current generation, read from its manifest, or that of
        the vectors of ``import:NAME``, from their record.

        None if there is no generation or record, and for other model names. Also None if the manifest was
        written by a version with other normal forms of titles or pictures: the same weights then make other
        vectors, and the encoder has to be loaded to compute the fingerprint.
        """
        if model.startswith(IMPORTED):
            record = import_record.read(self.imports, model.removeprefix(IMPORTED))
            return record.fingerprint if record else None
        if not model.startswith(LAKE_ENCODER):
            return None
        root = self.encoder(model.removeprefix(LAKE_ENCODER))
        if not (name := artifacts.current(root)):
            return None
        counts = artifacts.Manifest.read(root / name).counts
        return str(counts["fingerprint"]) if counts.get("forms") == FORMS else None

    def succession(self, model: str, candidate: str) -> tuple[Path, Path]:
        """The folders of the encoder `candidate` and of the encoder `model`, which it is to replace.

        Raises: InputError if `model` is not an encoder of the lake or is the candidate itself, or if the
        candidate does not exist.
        """
        if not model.startswith(LAKE_ENCODER) or model == LAKE_ENCODER + candidate:
            raise InputError(
                f"encoder.model is {model!r}, the candidate {LAKE_ENCODER + candidate!r}: want an encoder of "
                "the lake in use, and another one to take its place"
            )
        self.encoder_name(LAKE_ENCODER + candidate)  # raises if the candidate does not exist
        return self.encoder(candidate), self.encoder(model.removeprefix(LAKE_ENCODER))

    def encoder_name(self, model: str, fingerprint: str | None = None) -> str:
        """Translate ``lake:NAME`` to the ``local-dir:`` of a verified generation; other names are unchanged.

        With `fingerprint`, the generation of that fingerprint if it still exists; otherwise the current one.
        """
        if not model.startswith(LAKE_ENCODER):
            return model
        name = model.removeprefix(LAKE_ENCODER)
        root = self.encoder(name)
        names = artifacts.generations(root)
        if not names:
            raise InputError(
                f"the lake {self.root} has no encoder {name!r}; make one: `mmprod train` or `finetune`"
            )
        made = (
            n for n in names if artifacts.Manifest.read(root / n).counts.get("fingerprint") == fingerprint
        )
        with artifacts.opened(root, next(made, None) if fingerprint else None) as generation:
            return f"local-dir:{generation.path}"


@contextlib.contextmanager
def _locked(folder: Path, wait: bool) -> Iterator[None]:
    make_folder(folder)
    try:
        fd = locks.hold_as_writer(folder / ".lock", wait)
    except locks.HeldError as error:
        raise StateError(
            f"another run (process {error.holder}) is writing to {folder}; wait for it or pass --wait"
        ) from None
    try:
        yield
    finally:
        os.close(fd)
