"""`mmprod evaluate`: accuracy of surveys, of other systems' recall tables, of TREC runs and of groups."""

from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmprod.cli.moved import Noun
from mmprod.cli.options import WaitOption, with_session
from mmprod.cli.session import Session
from mmprod.storage.errors import StateError

if TYPE_CHECKING:
    import pyarrow as pa

    from mmprod.eval.labels import LabelFile

app = typer.Typer(name="evaluate", cls=Noun, help="Labels → figures with intervals, and a report.")

TrecOption = Annotated[
    Path | None, typer.Option("--trec-out", help="Also write runs and qrels for trec_eval to this folder.")
]
_WHOLE = ("system", "measure", "estimate", "95 %", "judged only", "pessimistic", "n")


@app.command()
@with_session()
def survey(
    session: Session,
    name: Annotated[
        str | None, typer.Argument(help='The profile that was sampled, or "search"; default: review.profile.')
    ] = None,
    trec_out: TrecOption = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="The folder for the report; default: LAKE/reports.")
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="End with exit code 1 when a figure has fallen (review.alerts).")
    ] = False,
    wait: WaitOption = False,
) -> None:
    """Estimate precision, P@k, mAP@k and recall from all labels so far: overall, by category, by sales band.

    Examples: mmprod evaluate survey --json

    mmprod evaluate survey search

    mmprod evaluate survey --strict
    """
    from mmprod.report.review.evaluations import write_reports
    from mmprod.stages.review.evaluation import evaluate, judge_survey, read_assessment
    from mmprod.stages.review.survey import known_survey
    from mmprod.stages.review.trec import write_trec

    lake, config = session.lake, session.config
    name = known_survey(lake, config, name)
    with lake.reviewing(wait):
        outcome = evaluate(lake, config, name)
        with session.store() as store:
            report = write_reports(lake, config, store, name, out)
    found = read_assessment(lake, name)
    if trec_out:
        write_trec(judge_survey(lake, config, name), trec_out)
    content = {"stages": [outcome.to_dict()], "alerts": list(found.alerts), "report": str(report)}
    _show(session, found.tables["metrics"], content)
    if strict and found.alerts:
        raise StateError("; ".join(found.alerts))


@app.command()
@with_session(lake=False)
def recall(
    session: Session,
    table: Annotated[Path, typer.Argument(help="A recall table of any system, CSV or Parquet.")],
    labels: Annotated[list[Path], typer.Argument(help="Label files about it.")],
    reviewer: Annotated[
        str, typer.Option("--reviewer", help="The reviewer, for label files without a reviewer column.")
    ] = "",
    trec_out: TrecOption = None,
    out: Annotated[Path | None, typer.Option("--out", help="Write a report to this file.")] = None,
) -> None:
    """Compute precision, P@k, mAP@k and recall of any system's recall table from label files; needs no lake.

    With --out, unusable rows of the label files are written to a file beside the report.

    Examples: mmprod evaluate recall recall.csv labels.csv

    mmprod evaluate recall recall.csv anna.csv ben.xlsx --out report.html
    """
    from mmprod.eval.labels import write_rejected
    from mmprod.report.review.external import write_report
    from mmprod.stages.review.evaluation import assess
    from mmprod.stages.review.external import judge, read_recall_file
    from mmprod.stages.review.trec import write_trec

    review = session.config.review
    judged, judgements, files = judge(read_recall_file(table), labels, review, reviewer)
    found = assess(judged, judgements, {}, review, table.stem)
    content: dict[str, Any] = {"files": [dict(read.counts) for read in files]}
    for path, read in zip(labels, files, strict=True):
        if not session.json:
            _tell(path, read, out is not None)
        if read.rejected and out:
            write_rejected(out.with_name(f"{path.stem}.rejected.csv"), read)
    if trec_out:
        write_trec(judged, trec_out)
    if out:
        write_report(table.stem, judged, found, review, out)
        content["report"] = str(out)
    _show(session, found.tables["metrics"], content)


@app.command()
@with_session(lake=False)
def trec(
    session: Session,
    run: Annotated[Path, typer.Argument(help="A run in TREC's format.")],
    qrels: Annotated[Path, typer.Argument(help="Its qrels.")],
    measures: Annotated[
        str, typer.Option("--measures", help="Measures by their trec_eval names, separated by spaces.")
    ] = "AP P@10 R@100 nDCG@10",
) -> None:
    """Evaluate a run against qrels, both in TREC's formats, with trec_eval's measures.

    Example: mmprod evaluate trec run.txt qrels.txt --measures 'AP P@10 nDCG@10' --json
    """
    from mmprod.eval.runs import evaluate_run
    from mmprod.eval.trec import read_qrels, read_run

    scores = evaluate_run(read_run(run), read_qrels(qrels), measures.split())
    means = [{"measure": name, "value": float(v.mean()), "n": len(v)} for name, v in scores.values.items()]
    content = {
        "measures": means,
        "queries": {
            query: {name: float(values[i]) for name, values in scores.values.items()}
            for i, query in enumerate(scores.queries)
        },
    }
    session.table("accuracy", ("measure", "value", "n"), [tuple(m.values()) for m in means], content)


@app.command()
@with_session(lake=False)
def groups(
    session: Session,
    groups: Annotated[Path, typer.Argument(help="Groups: product_id, group_id (CSV, Parquet).")],
    truth: Annotated[Path, typer.Argument(help="The true groups, in the same form.")],
) -> None:
    """Compare groups of products with the true groups: share of pure groups; precision and recall of pairs.

    Example: mmprod evaluate groups groups.csv truth.csv
    """
    from mmprod.eval.figures.groups import grouping
    from mmprod.stages.review.groups import read_groups

    found = grouping(read_groups(groups), read_groups(truth))
    rows = [(name, one.value, f"{one.low:.3f}–{one.high:.3f}", one.n) for name, one in found.items()]
    content = {"groups": {name: asdict(one) for name, one in found.items()}}
    session.table("groups", ("measure", "value", "95 %", "n"), rows, content)


def _tell(path: Path, read: "LabelFile", returned: bool) -> None:
    """Print the counts of a label file and, unless they are `returned`, its first rejected row."""
    typer.echo(f"{path}: {' · '.join(f'{name} {count:,}' for name, count in read.counts.items() if count)}")
    if read.rejected and not returned:
        first = read.rejected[0]
        typer.echo(f"first: line {first.line}, {first.reason}; --out gives all of them back")


def _show(session: Session, metrics: "pa.Table", content: dict[str, Any]) -> None:
    """Print the overall figures, by each way to count unjudged products, then those by category and band."""
    rows = metrics.to_pylist()
    session.table("accuracy", _WHOLE, list(_over_all(rows)), {"metrics": rows, **content})
    if session.json:
        return
    measures = list(dict.fromkeys(row["measure"] for row in rows if row["variant"] == "pooled"))
    session.table("", ("system", "scope", "n", *measures), list(_by_scope(rows, measures)), None)
    for alert in content.get("alerts", ()):
        typer.secho(f"alert: {alert}", fg="red")
    if "report" in content:
        typer.echo(f"report: {content['report']}")


def _over_all(rows: Sequence[dict[str, Any]]) -> Iterator[tuple[Any, ...]]:
    """One row per system and measure; the interval is that of the estimate."""
    lines: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    for row in rows:
        if row["facet"] == "all":
            lines.setdefault((row["system"], row["measure"]), {})[row["variant"] or "pooled"] = row
    for key, found in lines.items():
        main = found.get("pooled", {})
        values = [found.get(name, {}).get("value") for name in ("pooled", "judged", "pessimistic")]
        yield (*key, values[0], _span(main), *values[1:], main.get("n"))


def _by_scope(rows: Sequence[dict[str, Any]], measures: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    """One row per system and category or band: the measures with their intervals."""
    lines: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    for row in rows:
        if row["facet"] != "all" and row["variant"] == "pooled":
            lines.setdefault((row["system"], row["scope"]), {})[row["measure"]] = row
    for key, found in lines.items():
        told = [f"{found[m]['value']:.3f} {_span(found[m])}" if m in found else None for m in measures]
        yield (*key, max(row["n"] for row in found.values()), *told)


def _span(row: dict[str, Any]) -> str | None:
    return None if row.get("low") is None else f"{row['low']:.3f}–{row['high']:.3f}"
