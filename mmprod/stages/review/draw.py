"""Draws the next survey: neighbours of products, or results of searches."""

from collections.abc import Sequence
from pathlib import Path

from mmprod.datasets.store.store import Store
from mmprod.lake import Lake
from mmprod.sections import Config
from mmprod.stages.encoder import load_query_encoder
from mmprod.stages.open_index import encoder_of
from mmprod.stages.outcome import Outcome, Progress, no_progress
from mmprod.stages.review.searches import PROFILE, read_texts, sample_searches
from mmprod.stages.review.survey import sample


def draw(
    lake: Lake,
    config: Config,
    store: Store,
    also: Sequence[str] = (),
    searches: Path | None = None,
    progress: Progress = no_progress,
) -> Outcome:
    """Draw pairs and write the sheets: of neighbours of products, or of the `searches` of a file.

    `also`: further systems whose neighbours are pooled. Raises: InputError, StateError as `sample` and
    `sample_searches`.
    """
    if searches is None:
        return sample(lake, config, store, also, progress)
    texts = read_texts(searches, config.review.encoding)
    encoder = load_query_encoder(lake, config, encoder_of(lake, PROFILE))
    return sample_searches(lake, config, store, encoder, texts, progress)
