"""One day, all the way: product table → store → embeddings → indexes → recall tables."""

import json
from datetime import UTC, date, datetime
from pathlib import Path

from mmprod.datasets.faults import fault
from mmprod.datasets.files import replace_file
from mmprod.lake import Lake
from mmprod.sections import Config
from mmprod.stages.embed import embed_changes, open_embeddings
from mmprod.stages.encoder import load_encoder
from mmprod.stages.index import build_indexes, build_recall
from mmprod.stages.ingest import ingest_table, open_store
from mmprod.stages.outcome import Outcome, Watch, silent


def run_day(
    lake: Lake,
    config: Config,
    table: Path,
    day: date,
    approve_removals: bool = False,
    watch: Watch = silent,
) -> list[Outcome]:
    """Run every stage for one day's table; the caller holds the lake's lock. Safe to run again at any time.

    Raises: InputError before anything changes when the table, the configuration or the encoder can't be
    used; StateError when something in the lake is damaged or an index does not pass its gate.
    """
    encoder = load_encoder(lake, config)
    with open_store(lake, config, read_only=False) as store:
        outcomes = [ingest_table(lake, config, store, table, day, approve_removals, watch)]
        embeddings = open_embeddings(lake, config, encoder)
        outcomes.append(embed_changes(config, store, embeddings, encoder, watch))
        outcomes += build_indexes(lake, config, store, embeddings, list(config.profiles))
        outcomes += [build_recall(lake, config, name, watch) for name in config.recall.profiles]
    fault("run.finished")
    _record(lake, day, table, outcomes)
    return outcomes


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
