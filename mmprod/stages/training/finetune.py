"""The fine-tuning stage: trains a base encoder on a store's pairs and publishes an encoder of the lake.

    lake/training/<name>/<key>/   pairs, checkpoints, best.pt, board (TensorBoard)
    lake/encoders/<name>/gNNNNNN  the best model, with its model card

`key` is a hash of everything that determines the result, so the same command continues an interrupted run.
"""

import copy
import hashlib
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any, cast

import pyarrow as pa

from mmprod.datasets.forms import FORMS
from mmprod.datasets.pairs.augment import Augment
from mmprod.datasets.pairs.pairs import HELD_OUT, TRAIN, identity
from mmprod.datasets.pairs.reader import PairReader
from mmprod.datasets.store.store import Store
from mmprod.datasets.threads import limit, threads
from mmprod.encoders.blip.model import Blip
from mmprod.encoders.blip.objective import blip_objective
from mmprod.encoders.clip import Encoder, save, wrap
from mmprod.encoders.hardware import fitting
from mmprod.encoders.towers import trim
from mmprod.encoders.training import checkpoint
from mmprod.encoders.training.board import Board
from mmprod.encoders.training.distributed import rank, share, wait, world
from mmprod.encoders.training.dual import contrastive
from mmprod.encoders.training.loader import Loader
from mmprod.encoders.training.objective import Objective
from mmprod.encoders.training.options import Task
from mmprod.encoders.training.sampler import Sampler
from mmprod.encoders.training.trainer import Best, Scalars, Trainer, fit, prepare
from mmprod.lake import Lake
from mmprod.sections import Config
from mmprod.stages.encoder import load_encoder
from mmprod.stages.outcome import Advance, Outcome, Progress, no_progress, timed
from mmprod.stages.training.held_out import METRICS, HeldOut, evaluator_of
from mmprod.stages.training.model_card import model_card
from mmprod.stages.training.pairs import Selected, select_pairs
from mmprod.stages.training.samples import sheet
from mmprod.storage import artifacts, parquet
from mmprod.storage.errors import InputError, StateError
from mmprod.storage.files import replace_file

PAIRS, RUN = "pairs.parquet", "run.json"
_SHOWN = 512  # held-out pictures searched for TensorBoard's samples


def finetune_encoder(
    lake: Lake, config: Config, store_path: Path, task: Task, name: str, progress: Progress = no_progress
) -> Outcome:
    """Fine-tune the configured encoder on the pairs of a store and publish the best model as ``lake:name``.

    Continues from the last checkpoint after a crash. An encoder already published from the same base, pairs
    and options is reused. Under ``torchrun`` every process calls this; only the first one publishes. It waits
    for the lake's lock to do so, and the caller must not hold that lock, so that nightly runs go on
    meanwhile. Raises: InputError if there are too few pairs, or the base can't do the task.
    """
    with timed("finetune") as outcome:
        base = load_encoder(lake, config)
        config = _fitted(config, base.device)
        with Store.open(store_path, read_only=True) as store:
            selected = select_pairs(lake, config, store, progress)
        inputs = {"base": base.fingerprint, "pairs": _fingerprint(selected.pairs), "task": task}
        options = config.finetune.model_dump(mode="json")
        root = lake.encoder(name)
        outcome.rows, outcome.refused = selected.considered, len(selected.rejected)
        if generation := share(lambda: artifacts.reusable(root, inputs, options)):
            outcome.reused = outcome.rows - outcome.refused
            outcome.detail, outcome.made = _tell(root, generation), {str(root): generation}
            return outcome
        outcome.changed = len(selected.pairs)
        folder = run_folder(lake, name, inputs, options)
        if rank() == 0:
            _keep(folder, store_path, selected.pairs)
        work = Work(config, task, base, selected, store_path, folder)
        model, best = work.train(progress)
        if rank() == 0:
            with lake.writing(wait=True):
                generation = work.publish(root, model, best, inputs, options)
                outcome.detail, outcome.made = _tell(root, generation), {str(root): generation}
        wait()
    return outcome


def _fitted(config: Config, device: str) -> Config:
    """The configuration with the precision resolved for this machine, as it is part of a run's identity.

    Also limits this process's threads, to leave cores for the picture readers.
    """
    options = config.finetune
    limit(max(1, threads() - options.workers))
    precision = share(lambda: fitting(options.precision, device))
    return config.model_copy(update={"finetune": options.model_copy(update={"precision": precision})})


class Work:
    """One fine-tuning run: its base, its pairs, and the folder of its checkpoints."""

    def __init__(
        self, config: Config, task: Task, base: Encoder, selected: Selected, store: Path, folder: Path
    ) -> None:
        self.config, self.task, self.base, self.selected = config, task, base, selected
        self.store, self.folder, self.options = store, folder, config.finetune
        self.train_pairs = _of(selected.pairs, TRAIN)
        self.held_out = HeldOut.read(store, _of(selected.pairs, HELD_OUT), self.options.eval_pairs)
        self.evaluate = evaluator_of(task, self.held_out, self._encoder)

    def train(self, progress: Progress) -> tuple[Any, Best]:
        """Train; returns the best model and its held-out scores. Sets `before`, the base's scores."""
        self.before = self.evaluate(self.base.model)
        options, model = self.options, copy.deepcopy(self.base.model)
        prepare(model, options)
        size = options.batch_size * world()
        steps = options.total_steps(len(self.train_pairs), world())
        trainer = Trainer(model, self._objective(model), options, steps, self.base.device)
        items = identity(self.train_pairs)[:, 0] if self.task == "same-item" else None
        sampler = Sampler(len(self.train_pairs), size, options.seed, items, options.per_item)
        metric = METRICS[self.task] if options.metric == "auto" else options.metric
        if metric not in self.before:
            raise InputError(f"finetune.metric {metric!r}: there are {', '.join(sorted(self.before))}")
        resumed = checkpoint.latest_step(self.folder)
        advance = progress("finetune", steps)
        advance(resumed)
        with Board(self.folder / "board", resumed) as board:
            if not resumed and rank() == 0:
                board.scalars(0, self.before)
            tell = self._telling(trainer, board, advance)
            model = fit(trainer, self._loader(), sampler, self.folder, self.evaluate, metric, tell)
        return model, trainer.best

    def _telling(self, trainer: Trainer, board: Board, advance: Advance) -> Callable[[int, Scalars], None]:
        """A callback that advances progress and, in the first process, writes scalars and samples."""
        some = self.held_out.thinned(_SHOWN)

        def tell(step: int, scalars: Scalars) -> None:
            advance(1)
            if rank() == 0:
                board.scalars(step, scalars)
                evaluated = step % self.options.eval_steps == 0 or step == trainer.steps
                if evaluated and self.base.width:
                    board.pictures(step, "retrievals", sheet(some, self._encoder(trainer.finished())))

        return tell

    def publish(
        self, root: Path, model: Any, best: Best, inputs: dict[str, Any], options: dict[str, Any]
    ) -> str:
        """Publish the model as a new generation and put it in use; returns its name."""
        with artifacts.publishing(root, "encoder", inputs, options) as draft:
            encoder = self._encoder(model)
            save(encoder, draft.path)
            card = model_card(root.name, self.task, self.config, self.base, self.selected, self.before, best)
            (draft.path / "README.md").write_text(card, encoding="utf-8")
            draft.counts |= {
                "pairs": len(self.train_pairs),
                "held_out": len(self.held_out),
                "fingerprint": encoder.fingerprint,
                "forms": FORMS,
                "before": self.before,
                "measures": best.scalars,
            }
        artifacts.switch(root, draft.generation)
        return draft.generation

    def _objective(self, model: Any) -> Objective:
        if isinstance(model, Blip):
            return blip_objective(model, self.task, self.options)
        return contrastive(model, self.base.width, self.options, self.task == "same-item")

    def _loader(self) -> Loader:
        options, model = self.options, cast(Any, self.base.model)
        mode, fill = (model.visual.preprocess_cfg[key] for key in ("resize_mode", "fill_color"))
        fill = fill if isinstance(fill, int) else tuple(fill)
        scale = options.crop_scale, 1.0
        look = Augment(self.base.geometry.height, mode, fill, scale, flip=options.flip)
        reader = PairReader(self.store, self.train_pairs, look, options.seed, options.cache_mib << 20)
        titles = self.train_pairs["title"].to_pylist()
        return Loader(reader, titles, identity(self.train_pairs), self._tokens, options.workers)

    def _tokens(self, titles: list[str]) -> Any:
        return trim(self.base.model, self.base.tokenizer(titles))

    def _encoder(self, model: Any) -> Encoder:
        return wrap(model, self.base.tokenizer, self.base.device)


def _of(pairs: pa.Table, split: str) -> pa.Table:
    return pairs.filter(pa.compute.equal(pairs["split"], split))


def _fingerprint(pairs: pa.Table) -> str:
    """A hash that changes with any pair, its picture, title or split."""
    digest = hashlib.sha256()
    for batch in pairs.to_batches():
        digest.update(batch.serialize())
    return digest.hexdigest()


def run_folder(lake: Lake, name: str, inputs: dict[str, Any], options: dict[str, Any]) -> Path:
    """The folder of a run of encoder `name`; it depends on everything that determines the result."""
    text = json.dumps([inputs, options], sort_keys=True)
    return lake.training(name) / hashlib.sha256(text.encode()).hexdigest()[:12]


def read_held_out(folder: Path, at_most: int) -> HeldOut:
    """The held-out pairs of a run. Raises: StateError if its folder was removed."""
    if not (folder / PAIRS).is_file():
        raise StateError(f"{folder} was removed, and with it the run's curves; fine-tune again to get them")
    store = Path(json.loads((folder / RUN).read_text())["store"])
    return HeldOut.read(store, _of(parquet.read(folder / PAIRS), HELD_OUT), at_most)


def _keep(folder: Path, store: Path, pairs: pa.Table) -> None:
    """Record the pairs and their store for a later report."""
    replace_file(folder / RUN, json.dumps({"store": str(store.resolve())}))
    replace_file(folder / PAIRS, parquet.to_bytes(pairs))


def _tell(root: Path, generation: str) -> dict[str, Any]:
    """Details of a generation for the outcome: each overall measure, of the base and of the new model."""
    counts = artifacts.Manifest.read(root / generation).counts
    before, after = counts["before"], counts["measures"]
    overall = (name for name in sorted(after) if not name.startswith("mAP "))
    measures = {name: f"{name} {before[name]:.3f} → {after[name]:.3f}" for name in overall}
    return {"generation": generation, "fingerprint": counts["fingerprint"], **measures}
