"""The lake: the one folder that holds all state, and who may write to it."""

import contextlib
import fcntl
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from mmprod.datasets.forms import FORMS
from mmprod.storage import artifacts, fencing, room
from mmprod.storage.errors import InputError, StateError
from mmprod.storage.files import make_folder

LAKE_ENCODER = "lake:"


@dataclass(frozen=True)
class Lake:
    """Where everything lies below `root`."""

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
        """What reviewers are asked under a name: a profile, or "search"."""
        return self.surveys / name

    @property
    def judgements(self) -> Path:
        """Every label file that was taken in."""
        return self.root / "reviews" / "judgements"

    @property
    def inbox(self) -> Path:
        """The folder that reviewers' files are dropped into."""
        return self.root / "reviews" / "inbox"

    @property
    def evaluations(self) -> Path:
        return self.root / "evaluations"

    @property
    def reports(self) -> Path:
        """Pages made from evaluations."""
        return self.root / "reports"

    def evaluation(self, name: str) -> Path:
        """The figures of a survey, one generation each time they were made anew."""
        return self.evaluations / name

    def encoder(self, name: str) -> Path:
        return self.root / "encoders" / name

    def training(self, name: str) -> Path:
        """Checkpoints and logs of the fine-tunings that make the encoder `name`."""
        return self.root / "training" / name

    def embeddings(self, model: str, fingerprint: str) -> Path:
        """The table of one encoder; another encoder's vectors can't meet it even by mistake."""
        name = re.sub(r"[^A-Za-z0-9._-]+", "-", model.removeprefix(LAKE_ENCODER)).strip("-.")[-60:]
        return self.root / "embeddings" / f"{name}-{fingerprint[:12]}"

    def engines(self, model: str, fingerprint: str, form: str) -> Path:
        """The exported engines of one encoder in one form, such as ``onnx-fp32``."""
        return self.root / "engines" / self.embeddings(model, fingerprint).name / form

    def index(self, profile: str) -> Path:
        return self.root / "indexes" / profile

    def recall(self, profile: str) -> Path:
        return self.root / "recall" / profile

    @property
    def quarantine(self) -> Path:
        """Lists of the rows for which whole product tables were refused."""
        return self.root / "quarantine"

    @property
    def groups(self) -> Path:
        """Which products are the same item."""
        return self.root / "groups"

    @property
    def features(self) -> Path:
        """Vectors and groups of the live products, for other systems."""
        return self.root / "features"

    @property
    def found(self) -> Path:
        """What saved searches find."""
        return self.root / "found"

    @property
    def releases(self) -> Path:
        """What the online service serves: engine and indexes together."""
        return self.root / "releases"

    def artifact_roots(self) -> list[Path]:
        """Every folder below the lake that holds generations."""
        return sorted({path.parent.parent for path in self.root.glob(f"**/g*/{artifacts.MANIFEST}")})

    def embedding_roots(self) -> list[Path]:
        return sorted(path.parent for path in self.root.glob("embeddings/*/CURRENT.json"))

    def writing(self, wait: bool = False) -> contextlib.AbstractContextManager[None]:
        """Be the only writer; StateError names the process that is, or `wait` for it to end.

        The lock belongs to the process and goes with it, however it ends. An attempt that was superseded is
        refused, here and at each step that others would see (`mmprod.storage.fencing`).
        """
        return self._only(self.root, wait)

    def reviewing(self, wait: bool = False) -> contextlib.AbstractContextManager[None]:
        """Be the only one to write surveys, judgements and evaluations; a nightly run doesn't stop it."""
        return self._only(self.root / "reviews", wait)

    def fine_tuning(self, name: str, wait: bool = False) -> contextlib.AbstractContextManager[None]:
        """Be the only one to fine-tune the encoder `name`; only publishing it takes the lake's own lock."""
        return self._only(self.training(name), wait)

    def go_back(
        self, root: Path, generation: str | None = None, only_from: str | None = None, wait: bool = False
    ) -> str | None:
        """Let an earlier generation below `root` be in use again, as `artifacts.rollback`; which is then.

        With `only_from` nothing is done where another one is in use. Raises: StateError where neither that
        nor `generation` is named, and somebody else has switched since this was called.
        """
        seen = artifacts.in_use(root)
        with self.writing(wait):
            if only_from is not None and artifacts.in_use(root) != only_from:
                return artifacts.current(root)
            return artifacts.rollback(root, generation, None if generation else seen)

    def attempting(self) -> contextlib.AbstractContextManager[None]:
        """Be the attempt that counts at work that needs no lock; see `mmprod.storage.fencing`."""
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
        """Of the current generation of a ``lake:NAME``; None before there is one, and for other names.

        None also where it was noted when titles or pictures had other normal forms than now: the same weights
        make other vectors of them, so who needs the fingerprint has to load the encoder.
        """
        if not model.startswith(LAKE_ENCODER):
            return None
        root = self.encoder(model.removeprefix(LAKE_ENCODER))
        if not (name := artifacts.current(root)):
            return None
        counts = artifacts.Manifest.read(root / name).counts
        return str(counts["fingerprint"]) if counts.get("forms") == FORMS else None

    def succession(self, model: str, candidate: str) -> tuple[Path, Path]:
        """Where the encoder `candidate` lies, and where `model`, whose place it is to take.

        Raises: InputError when `model` is not of the lake, or is the candidate itself; when there is none.
        """
        if not model.startswith(LAKE_ENCODER) or model == LAKE_ENCODER + candidate:
            raise InputError(
                f"encoder.model is {model!r}, the candidate {LAKE_ENCODER + candidate!r}: want an encoder of "
                "the lake in use, and another one to take its place"
            )
        self.encoder_name(LAKE_ENCODER + candidate)  # says what is wrong where there is none
        return self.encoder(candidate), self.encoder(model.removeprefix(LAKE_ENCODER))

    def encoder_name(self, model: str, fingerprint: str | None = None) -> str:
        """``lake:NAME`` to the ``local-dir:`` of a generation, verified; other names unchanged.

        The current generation, or with `fingerprint` the one of that fingerprint if it is still there.
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
    fd = os.open(folder / ".lock", os.O_RDWR | os.O_CREAT, 0o644)
    try:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            owner = os.pread(fd, 32, 0).decode() or "unknown"
            raise StateError(
                f"another run (process {owner}) is writing to {folder}; wait for it or pass --wait"
            ) from None
        os.ftruncate(fd, 0)
        os.pwrite(fd, str(os.getpid()).encode(), 0)
        yield
    finally:
        os.close(fd)
