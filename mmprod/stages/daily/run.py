"""All stages of one day: product table → store → embeddings → indexes → recall tables."""

import json
from datetime import UTC, date, datetime
from pathlib import Path

from mmprod.datasets.embeddings.table import EmbeddingTable
from mmprod.datasets.store.store import Store
from mmprod.encoders.encoder import Encoder
from mmprod.lake import LAKE_ENCODER, Lake
from mmprod.sections import Config
from mmprod.stages.backend import embedding_encoder
from mmprod.stages.daily.embed import bring_up, embed_changes, open_embeddings, read_embeddings
from mmprod.stages.daily.index import build_indexes
from mmprod.stages.daily.ingest import ingest_table
from mmprod.stages.daily.recall import build_recall
from mmprod.stages.encoder import open_encoder
from mmprod.stages.outcome import Outcome, Progress, no_progress
from mmprod.stages.store import open_store
from mmprod.storage.faults import fault
from mmprod.storage.files import replace_file


def run_day(
    lake: Lake,
    config: Config,
    table: Path,
    day: date,
    approve_removals: bool = False,
    progress: Progress = no_progress,
    *,
    approve_day: bool = False,
) -> list[Outcome]:
    """Run every stage for one day's table; the caller holds the lake's lock. Safe to run again at any time.

    Raises: InputError, before anything is changed, if the table, the configuration or the encoder can't be
    used; StateError if something in the lake is damaged or an index does not pass its gate.
    """
    encoder = _usable(lake, config)
    with open_store(lake, config, read_only=False, table=table) as store:
        outcomes = [
            ingest_table(lake, config, store, table, day, approve_removals, progress, approve_day=approve_day)
        ]
        embedded, embeddings = _embed(lake, config, store, encoder, progress)
        outcomes.append(embedded)
        outcomes += build_indexes(lake, config, store, embeddings, list(config.profiles))
        outcomes += [build_recall(lake, config, name, progress) for name in config.recall.profiles]
    fault("run.finished")
    _record(lake, day, table, outcomes)
    return outcomes


def _usable(lake: Lake, config: Config) -> Encoder | None:
    """Load the encoder; for one of the lake only verify its files and return None: `bring_up` may load it."""
    if not config.encoder.model.startswith(LAKE_ENCODER):
        return open_encoder(lake, config)
    lake.encoder_name(config.encoder.model)
    return None


def _embed(
    lake: Lake, config: Config, store: Store, encoder: Encoder | None, progress: Progress
) -> tuple[Outcome, EmbeddingTable]:
    """Run the embed stage; returns its outcome and the embedding table."""
    if encoder is None:
        return bring_up(lake, config, store, progress), read_embeddings(lake, config)
    chosen = embedding_encoder(lake, config, store, loaded=encoder, progress=progress)
    table = open_embeddings(lake, config, chosen)
    return embed_changes(config, store, table, chosen, progress), table


def _record(lake: Lake, day: date, table: Path, outcomes: list[Outcome]) -> None:
    """Write a record of the run for people to read; no program reads it."""
    now = datetime.now(UTC)
    content = {
        "day": day.isoformat(),
        "table": str(table),
        "finished_at": now.isoformat(timespec="seconds"),
        "stages": [outcome.to_dict() for outcome in outcomes],
    }
    replace_file(
        lake.runs / f"{day.isoformat()}-{now:%Y%m%dT%H%M%S%f}.json", json.dumps(content, indent=1) + "\n"
    )
