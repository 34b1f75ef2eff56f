"""Fine-tuning as a stage: pairs from a store, a base, the trainer; out comes an encoder of the lake.

    lake/training/<name>/<key>/   pairs, checkpoints, best.pt, board (TensorBoard)
    lake/encoders/<name>/gNNNNNN  the best model, with its model card

`key` is a hash of all that decides the result, so the same command continues what was interrupted.
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
from mmprod.stages.outcome import Advance, Outcome, Watch, silent, timed
from mmprod.stages.training.held_out import METRICS, HeldOut, judge_of
from mmprod.stages.training.model_card import model_card
from mmprod.stages.training.pairs import Selected, select_pairs
from mmprod.stages.training.samples import sheet
from mmprod.storage import artifacts, parquet
from mmprod.storage.errors import InputError, StateError
from mmprod.storage.files import replace_file

PAIRS, RUN = "pairs.parquet", "run.json"
_SHOWN = 512  # held-out pictures that TensorBoard's samples are searched in


def finetune_encoder(
    lake: Lake, config: Config, store_path: Path, task: Task, name: str, watch: Watch = silent
) -> Outcome:
    """Adapt the configured encoder to the pairs of a store and publish the best model as ``lake:name``.

    Continues after a crash from the last checkpoint. What was published from the same base, pairs and
    options is kept as it is. Under ``torchrun`` every process calls this; the first one publishes, and waits
    for the lake's lock to do so: the caller must not hold it, so that nightly runs go on meanwhile.
    Raises: InputError when there are too few pairs, or the base can't do the task.
    """
    with timed("finetune") as outcome:
        base = load_encoder(lake, config)
        config = _fitted(config, base.device)
        with Store.open(store_path, read_only=True) as store:
            selected = select_pairs(lake, config, store, watch)
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
        model, best = work.train(watch)
        if rank() == 0:
            with lake.writing(wait=True):
                generation = work.publish(root, model, best, inputs, options)
                outcome.detail, outcome.made = _tell(root, generation), {str(root): generation}
        wait()
    return outcome


def _fitted(config: Config, device: str) -> Config:
    """The configuration with the precision that training computes in here: it is part of what a run is.

    Readers of pictures take their share of the threads.
    """
    options = config.finetune
    limit(max(1, threads() - options.workers))
    precision = share(lambda: fitting(options.precision, device))
    return config.model_copy(update={"finetune": options.model_copy(update={"precision": precision})})


class Work:
    """One fine-tuning: its base, its pairs, and the folder it keeps its checkpoints in."""

    def __init__(
        self, config: Config, task: Task, base: Encoder, selected: Selected, store: Path, folder: Path
    ) -> None:
        self.config, self.task, self.base, self.selected = config, task, base, selected
        self.store, self.folder, self.options = store, folder, config.finetune
        self.train_pairs = _of(selected.pairs, TRAIN)
        self.held_out = HeldOut.read(store, _of(selected.pairs, HELD_OUT), self.options.eval_pairs)
        self.judge = judge_of(task, self.held_out, self._encoder)

    def train(self, watch: Watch) -> tuple[Any, Best]:
        """The best model and what it reached on held-out pairs; `before`: what the base reached."""
        self.before = self.judge(self.base.model)
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
        advance = watch("finetune", steps)
        advance(resumed)
        with Board(self.folder / "board", resumed) as board:
            if not resumed and rank() == 0:
                board.scalars(0, self.before)
            tell = self._telling(trainer, board, advance)
            model = fit(trainer, self._loader(), sampler, self.folder, self.judge, metric, tell)
        return model, trainer.best

    def _telling(self, trainer: Trainer, board: Board, advance: Advance) -> Callable[[int, Scalars], None]:
        """Moves the progress bar and, in the first process, writes scalars and sample retrievals."""
        some = self.held_out.thinned(_SHOWN)

        def tell(step: int, scalars: Scalars) -> None:
            advance(1)
            if rank() == 0:
                board.scalars(step, scalars)
                judged = step % self.options.eval_steps == 0 or step == trainer.steps
                if judged and self.base.width:
                    board.pictures(step, "retrievals", sheet(some, self._encoder(trainer.finished())))

        return tell

    def publish(
        self, root: Path, model: Any, best: Best, inputs: dict[str, Any], options: dict[str, Any]
    ) -> str:
        """The model as a new generation in use; its name."""
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
        look = Augment(self.base.picture_side, mode, fill, scale, flip=options.flip)
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
    """Changes with any pair, its picture, title or split."""
    digest = hashlib.sha256()
    for batch in pairs.to_batches():
        digest.update(batch.serialize())
    return digest.hexdigest()


def run_folder(lake: Lake, name: str, inputs: dict[str, Any], options: dict[str, Any]) -> Path:
    """Where the run of encoder `name` keeps its checkpoints, by all that decides its result."""
    text = json.dumps([inputs, options], sort_keys=True)
    return lake.training(name) / hashlib.sha256(text.encode()).hexdigest()[:12]


def read_held_out(folder: Path, at_most: int) -> HeldOut:
    """The held-out pairs of a run; StateError when its folder was removed."""
    if not (folder / PAIRS).is_file():
        raise StateError(f"{folder} is gone, and with it the run's curves; fine-tune again to have them")
    store = Path(json.loads((folder / RUN).read_text())["store"])
    return HeldOut.read(store, _of(parquet.read(folder / PAIRS), HELD_OUT), at_most)


def _keep(folder: Path, store: Path, pairs: pa.Table) -> None:
    """What a report needs later: which pairs of which store."""
    replace_file(folder / RUN, json.dumps({"store": str(store.resolve())}))
    replace_file(folder / PAIRS, parquet.to_bytes(pairs))


def _tell(root: Path, generation: str) -> dict[str, Any]:
    """What is shown of a generation: each overall measure, of the base and now."""
    counts = artifacts.Manifest.read(root / generation).counts
    before, after = counts["before"], counts["measures"]
    overall = (name for name in sorted(after) if not name.startswith("mAP "))
    measures = {name: f"{name} {before[name]:.3f} → {after[name]:.3f}" for name in overall}
    return {"generation": generation, "fingerprint": counts["fingerprint"], **measures}
