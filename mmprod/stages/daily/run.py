"""One day, all the way: product table → store → embeddings → indexes → recall tables."""

import json
from datetime import UTC, date, datetime
from pathlib import Path

from mmprod.datasets.embeddings.table import EmbeddingTable
from mmprod.datasets.store.store import Store
from mmprod.encoders.encoder import Encoder
from mmprod.lake import LAKE_ENCODER, Lake
from mmprod.sections import Config
from mmprod.stages.daily.embed import bring_up, embed_changes, open_embeddings, read_embeddings
from mmprod.stages.daily.index import build_indexes
from mmprod.stages.daily.ingest import ingest_table, open_store
from mmprod.stages.daily.recall import build_recall
from mmprod.stages.encoder import load_encoder
from mmprod.stages.outcome import Outcome, Watch, silent
from mmprod.storage.faults import fault
from mmprod.storage.files import replace_file


def run_day(
    lake: Lake,
    config: Config,
    table: Path,
    day: date,
    approve_removals: bool = False,
    watch: Watch = silent,
    *,
    approve_day: bool = False,
) -> list[Outcome]:
    """Run every stage for one day's table; the caller holds the lake's lock. Safe to run again at any time.

    Raises: InputError before anything changes when the table, the configuration or the encoder can't be
    used; StateError when something in the lake is damaged or an index does not pass its gate.
    """
    encoder = _usable(lake, config)
    with open_store(lake, config, read_only=False) as store:
        outcomes = [
            ingest_table(lake, config, store, table, day, approve_removals, watch, approve_day=approve_day)
        ]
        embedded, embeddings = _embed(lake, config, store, encoder, watch)
        outcomes.append(embedded)
        outcomes += build_indexes(lake, config, store, embeddings, list(config.profiles))
        outcomes += [build_recall(lake, config, name, watch) for name in config.recall.profiles]
    fault("run.finished")
    _record(lake, day, table, outcomes)
    return outcomes


def _usable(lake: Lake, config: Config) -> Encoder | None:
    """The encoder; None for one of the lake: its files are verified, and bring_up loads it at need."""
    if not config.encoder.model.startswith(LAKE_ENCODER):
        return load_encoder(lake, config)
    lake.encoder_name(config.encoder.model)
    return None


def _embed(
    lake: Lake, config: Config, store: Store, encoder: Encoder | None, watch: Watch
) -> tuple[Outcome, EmbeddingTable]:
    """What was embedded, and the table as it is then."""
    if encoder is None:
        return bring_up(lake, config, store, watch), read_embeddings(lake, config)
    table = open_embeddings(lake, config, encoder)
    return embed_changes(config, store, table, encoder, watch), table


def _record(lake: Lake, day: date, table: Path, outcomes: list[Outcome]) -> None:
    """Keep what the run did; it is for people, nothing reads it back."""
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
