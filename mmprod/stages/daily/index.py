"""Embedding table → fused vectors → Faiss generation → gate → CURRENT."""

from collections.abc import Sequence
from operator import gt
from pathlib import Path
from typing import TYPE_CHECKING

import pyarrow as pa

from mmprod.datasets.store.store import Store
from mmprod.lake import Lake
from mmprod.retrieval import folder, index
from mmprod.retrieval.gate import gate
from mmprod.retrieval.generation import Generation
from mmprod.sections import Config
from mmprod.stages import needs
from mmprod.stages.daily.fused import FusedVectors, with_categories
from mmprod.stages.daily.index_training import AGE, Training, index_options, training_of
from mmprod.stages.outcome import Outcome, timed
from mmprod.storage import artifacts
from mmprod.storage.errors import GateError, StateError
from mmprod.storage.faults import fault
from mmprod.storage.room import require

if TYPE_CHECKING:
    from mmprod.datasets.embeddings.table import EmbeddingTable, Pointer


def build_indexes(
    lake: Lake,
    config: Config,
    store: Store,
    table: "EmbeddingTable",
    profiles: Sequence[str],
    hold: bool = False,
) -> list[Outcome]:
    """Build and check a new index generation of each profile whose inputs changed, then put all in use.

    With `hold` they are not put in use until `promote_indexes`.
    Raises: StateError if there is not enough disk space or an embedding file is damaged; GateError if a gate
    refuses an index. Then no profile is switched, so that all profiles always have the same encoder.
    """
    outcomes = [_build_index(lake, config, store, table, profile) for profile in profiles]
    _passed(lake, profiles)
    if not hold:
        promote_indexes(lake, profiles)
    return outcomes


def promote_indexes(lake: Lake, profiles: Sequence[str]) -> Outcome:
    """Put the latest built generation of each profile in use, all together.

    Raises: StateError if one is missing or damaged or has another encoder than the others; GateError if one
    was refused by its gate. Then nothing is changed.
    """
    with timed("promote") as outcome:
        latest = _passed(lake, profiles)
        encoders = {profile: made.inputs["encoder"] for profile, (_, made) in latest.items()}
        if len(set(encoders.values())) > 1:
            told = ", ".join(f"{profile} {encoder[:12]}" for profile, encoder in encoders.items())
            raise StateError(
                f"the latest indexes are of different encoders: {told}; run `mmprod index build`"
            )
        new = {p: name for p, (name, _) in latest.items() if name != artifacts.current(lake.index(p))}
        for profile, name in new.items():
            folder = lake.index(profile) / name
            if problems := artifacts.verify(folder):
                raise StateError(f"{folder} is damaged: {'; '.join(problems)}; build it again")
        for profile, name in new.items():
            artifacts.switch(lake.index(profile), name)
        outcome.rows, outcome.changed = len(latest), len(new)
        outcome.reused = outcome.rows - outcome.changed
        outcome.detail = {profile: name for profile, (name, _) in latest.items()}
        outcome.made = {str(lake.index(profile)): name for profile, (name, _) in latest.items()}
    return outcome


def _passed(lake: Lake, profiles: Sequence[str]) -> dict[str, tuple[str, artifacts.Manifest]]:
    """Each profile's latest generation. Raises: StateError if there is none; GateError if one was refused."""
    latest, refused = {}, []
    for profile in profiles:
        root = lake.index(profile)
        name = artifacts.newest(root)
        if name is None:
            raise StateError(f"no index of profile {profile} was built yet; run `mmprod index build`")
        latest[profile] = name, artifacts.Manifest.read(root / name)
        if checks := _failed(root, name):
            refused.append(f"{profile} {name}: {', '.join(checks)}")
    if refused:
        raise GateError(
            f"built, but not let through by the gate: {'; '.join(refused)}; what was current goes on serving"
        )
    return latest


def _failed(root: Path, name: str) -> list[str]:
    """The gate checks that a generation failed; empty for the one in use, even if it was forced into use."""
    if name == artifacts.current(root):
        return []
    checks = artifacts.refused(root / name)
    return [f"{check['name']} {check['value']:.4g} (limit {check['limit']:.4g})" for check in checks]


def _build_index(lake: Lake, config: Config, store: Store, table: "EmbeddingTable", profile: str) -> Outcome:
    """Build a generation and record its gate's results; reuse the latest one if nothing has changed.

    If the same vectors were indexed already and only what is said of the products differs (their categories,
    whether they have the other modality), the new generation takes over the index file.
    """
    chosen, root = config.profile(profile), lake.index(profile)
    pointer = table.pointer
    revision = pointer.revision_of(chosen.weights)
    inputs = {"encoder": pointer.encoder, "vectors": revision, "store": _position(store)}
    if pointer.categories:
        inputs["categories"] = list(pointer.categories)
    options = index_options(config, profile)
    with timed(f"index {profile}") as outcome:
        outcome.rows = table.count()
        vectors = FusedVectors(table, chosen.weights, chosen.form)
        name = artifacts.newest(root)
        if name and not _failed(root, name) and artifacts.matches(root / name, inputs, options, ("store",)):
            items = _items_now(root / name, vectors, store)
            if items is None:
                outcome.reused, outcome.made = outcome.rows, {str(root): name}
                return outcome
            with artifacts.publishing(root, "index", inputs, options) as draft:
                folder.take_over(root / name, draft.path, items)
                draft.counts |= artifacts.Manifest.read(root / name).counts
            outcome.reused = items.num_rows
            outcome.detail["index_of"] = name
        else:
            with artifacts.publishing(root, "index", inputs, options) as draft:
                need = needs.index_bytes(config, profile, pointer.width, outcome.rows)
                require(f"an index of {outcome.rows:,} products", need, root)
                items = _new(draft, vectors, config, store, root, profile)
            outcome.changed = items.num_rows
        outcome.refused = outcome.rows - items.num_rows
        outcome.detail = {"generation": draft.generation, **draft.counts, **outcome.detail}
        outcome.made[str(root)] = draft.generation
    return outcome


def _new(
    draft: artifacts.Draft, vectors: FusedVectors, config: Config, store: Store, root: Path, profile: str
) -> pa.Table:
    """Build an index of all vectors into the draft; returns its items.

    The generation before, if it is sound, saves reading categories that are the same, and training.
    Raises: StateError if the embedding table is damaged, or no product has a vector for this profile.
    """
    table, name = vectors.table, artifacts.newest(root)
    if problems := table.verify():
        cure = f"remove {table.root} and run `mmprod embed`"
        raise StateError(f"the embedding table is damaged: {'; '.join(problems)}; {cure}")
    before = None if name is None or artifacts.verify(root / name) else root / name
    items = vectors.items(store, _known(before, store) if before else None)
    if not items.num_rows:
        raise StateError(
            f"profile {profile}: no product has a vector that its weights {vectors.weights} count"
        )
    dim = needs.fused_width(config.profile(profile), table.pointer.width)
    factory = index.resolve_factory(config.index.factory, dim, items.num_rows)
    training = training_of(before, config, profile, table.pointer.encoder, factory) if before else None
    _write(draft, vectors, items, config, profile, _comparable(root, table.pointer), training, factory)
    return items


def _items_now(generation: Path, vectors: FusedVectors, store: Store) -> pa.Table | None:
    """What is said of a generation's products by now, in its order; None if that is what it says already.

    Costs what changed: only products whose lasting fields changed since are read.
    """
    items = vectors.modalities_of(_known(generation, store))
    return None if items.equals(folder.read_items(generation)) else items


def _known(generation: Path, store: Store) -> pa.Table:
    """The items of a generation with the categories of today."""
    made, head = artifacts.Manifest.read(generation).inputs["store"], store.field_head()
    count, now = len(head), _position(store)
    ahead = len(made) != len(now) or made[count:] != now[count:] or any(map(gt, made, head))
    changes = store.field_changes_since(None if ahead else tuple(made[:count]))  # ahead: of a store made anew
    items = folder.read_items(generation)
    return with_categories(items, [change.product_id for change in changes], store)


def _position(store: Store) -> list[int]:
    """The position of the latest change of lasting fields; once the store was resharded, the number of its
    numbering follows."""
    number = store.numbering.number
    return [*store.field_head(), number] if number else list(store.field_head())


def _write(
    draft: artifacts.Draft,
    vectors: FusedVectors,
    items: pa.Table,
    config: Config,
    profile: str,
    previous: int | None,
    training: Training | None,
    factory: str,
) -> None:
    """Build the index into the draft, and run the gate on the files read back from disk.

    An index that fails the gate with a training taken over is built once more with one of its own.
    """
    pointer, count = vectors.table.pointer, items.num_rows
    dim = needs.fused_width(config.profile(profile), pointer.width)
    chosen = training.factory if training else factory
    empty = training.empty if training else index.trained(vectors, dim, count, chosen)
    if index.needs_training(chosen, dim):
        index.write(empty, draft.path / folder.TRAINING)
        draft.counts[AGE] = training.age + 1 if training else 1
    built = index.build(vectors, dim, count, chosen, empty=empty)
    fault("index.built")
    nprobe = config.index.nprobe or index.lists_probed(built)
    width, encoder = pointer.width, pointer.encoder
    build = folder.Build(profile, vectors.weights, encoder, dim, width, chosen, nprobe, count)
    folder.save(draft.path, built, items, build)
    limits = config.index
    report = gate(
        Generation.open(draft.path),
        vectors,
        min_recall=limits.min_recall,
        max_similarity=limits.max_similarity,
        max_shrink=limits.max_shrink,
        previous=previous,
    )
    if training and not report.passed:
        _write(draft, vectors, items, config, profile, previous, None, factory)
        return
    draft.counts |= {"products": count, "factory": chosen, "gate": report.to_dict()}


def _comparable(root: Path, pointer: "Pointer") -> int | None:
    """Number of products of the generation in use; None if there is none or it has other categories."""
    if (name := artifacts.current(root)) is None:
        return None
    manifest = artifacts.Manifest.read(root / name)
    same = tuple(manifest.inputs.get("categories", ())) == pointer.categories
    return int(manifest.counts["products"]) if same else None
