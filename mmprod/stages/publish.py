"""Shared by all stages: reuse the current artifact if nothing has changed, otherwise publish a new one."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from mmprod.stages.outcome import Outcome
from mmprod.storage import artifacts
from mmprod.storage.artifacts import Draft, Manifest


@contextmanager
def reuse_or_publish(
    outcome: Outcome, root: Path, kind: str, inputs: dict[str, Any], options: dict[str, Any]
) -> Iterator[Draft]:
    """Yields the generation in use, or a draft for a new one.

    If the generation in use, or the latest one, was made from equal `inputs` with equal `options`, it is
    yielded (and put in use) with
    `draft.reused` set, and there is nothing to do. Otherwise the block fills a draft, which is published and
    put in use when the block ends; a block that raises publishes nothing.

    Afterwards `outcome` holds the generation and its counts. The block sets `outcome.rows`. If the generation
    was reused, they count as reused; otherwise as changed, unless the block has set `outcome.changed`.
    """
    if name := artifacts.reusable(root, inputs, options):
        draft = Draft(root / name, Manifest.read(root / name).counts, name, reused=True)
        yield draft
        outcome.reused = outcome.rows - outcome.refused
    else:
        with artifacts.publishing(root, kind, inputs, options) as draft:
            yield draft
        artifacts.switch(root, draft.generation)
        draft.path = root / draft.generation
        outcome.changed = outcome.changed or outcome.rows - outcome.refused
    outcome.made[str(root)] = draft.generation
    outcome.detail = {"generation": draft.generation, **draft.counts, **outcome.detail}
