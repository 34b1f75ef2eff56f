"""Writes a survey as TREC runs and qrels, for trec_eval and similar programs."""

from pathlib import Path

from mmprod.eval.judged import Judged
from mmprod.eval.trec import write_qrels, write_run


def write_trec(judged: Judged, folder: Path) -> None:
    """Write ``run-SYSTEM.txt`` of each system and ``qrels.txt``, its judged pairs, below `folder`."""
    folder.mkdir(parents=True, exist_ok=True)
    runs: dict[str, dict[str, dict[str, float]]] = {system: {} for system in judged.systems}
    columns = ("system", "anchor_id", "product_id", "rank")
    for system, anchor, product, rank in zip(
        *(judged.candidates[c].to_pylist() for c in columns), strict=True
    ):
        runs[system].setdefault(anchor, {})[product] = -float(rank)  # keeps the order, ties or not
    for system, run in runs.items():
        write_run(folder / f"run-{system.replace('/', '-')}.txt", run, system)
    qrels: dict[str, dict[str, int]] = {}
    names = ("pair_id", "anchor_id", "product_id")
    for pair, anchor, product in zip(*(judged.pairs[c].to_pylist() for c in names), strict=True):
        if pair in judged.same:
            qrels.setdefault(anchor, {})[product] = int(judged.same[pair])
    write_qrels(folder / "qrels.txt", qrels)
