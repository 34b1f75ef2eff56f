"""Commands that turn labels into figures: `mmprod evaluate`, and comparisons and weights from them."""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from mmprod.cli.reviews import SurveyOption, review
from mmprod.cli.session import ConfigOption, JsonOption, LakeOption, Session, WaitOption
from mmprod.storage.errors import InputError, StateError

if TYPE_CHECKING:
    import pyarrow as pa

    from mmprod.eval.labels import LabelFile

_WHOLE = ("system", "measure", "estimate", "95 %", "judged only", "pessimistic", "n")

_WEIGHTS = ("scope", "anchors", "image_weight", "auc", "auc_1_1", "auc_7_3", "advised", "threshold")


def register(app: typer.Typer) -> None:
    """Add the commands of this file to the application."""
    app.command()(evaluate)
    review.command()(compare)
    review.command()(weights)


def evaluate(
    survey: SurveyOption = None,
    recall: Annotated[
        Path | None, typer.Option("--recall", help="Without a lake: a recall table, CSV or Parquet.")
    ] = None,
    labels: Annotated[
        list[Path] | None, typer.Option("--labels", help="Label files about that table; repeatable.")
    ] = None,
    reviewer: Annotated[
        str, typer.Option("--reviewer", help="Who answered, where a label file doesn't say.")
    ] = "",
    trec_run: Annotated[Path | None, typer.Option("--trec-run", help="A run in TREC's format.")] = None,
    trec_qrels: Annotated[Path | None, typer.Option("--trec-qrels", help="Its qrels.")] = None,
    measures: Annotated[
        str, typer.Option("--measures", help="Of the run, as trec_eval's.")
    ] = "AP P@10 R@100 nDCG@10",
    trec_out: Annotated[
        Path | None,
        typer.Option("--trec-out", help="Also write runs and qrels for trec_eval there."),
    ] = None,
    groups: Annotated[
        Path | None, typer.Option("--groups", help="Groups of products: product_id, group_id (CSV, Parquet).")
    ] = None,
    truth: Annotated[Path | None, typer.Option("--truth", help="Their true groups, likewise.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Where the report goes; LAKE/reports without this.")
    ] = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="End with exit code 1 when a figure has fallen (review.alerts).")
    ] = False,
    wait: WaitOption = False,
    config: ConfigOption = None,
    lake: LakeOption = None,
    json: JsonOption = False,
) -> None:
    """Precision, P@k, mAP@k and recall from every label so far: over all, by category, by sales band.

    Also of other systems' tables and labels, and of TREC runs.

    Examples: mmprod evaluate --json

    mmprod evaluate --survey search

    mmprod evaluate --recall recall.csv --labels labels.csv --out report.html

    mmprod evaluate --trec-run run.txt --trec-qrels qrels.txt --measures 'AP P@10 nDCG@10' --json

    mmprod evaluate --groups groups.csv --truth spu.csv
    """
    session = Session(config, lake, json)
    if trec_run or trec_qrels:
        _evaluate_run(session, trec_run, trec_qrels, measures.split())
    elif groups or truth:
        _evaluate_groups(session, groups, truth)
    elif recall or labels:
        _evaluate_foreign(session, recall, labels or (), reviewer, trec_out, out)
    else:
        _evaluate_lake(session, survey, trec_out, out, strict, wait)


def _evaluate_run(session: Session, run: Path | None, qrels: Path | None, measures: Sequence[str]) -> None:
    from mmprod.eval.runs import evaluate_run
    from mmprod.eval.trec import read_qrels, read_run

    if run is None or qrels is None:
        raise InputError("a run is evaluated against qrels: give both --trec-run and --trec-qrels")
    scores = evaluate_run(read_run(run), read_qrels(qrels), measures)
    means = [{"measure": name, "value": float(v.mean()), "n": len(v)} for name, v in scores.values.items()]
    content = {
        "measures": means,
        "queries": {
            query: {name: float(values[i]) for name, values in scores.values.items()}
            for i, query in enumerate(scores.queries)
        },
    }
    session.table("accuracy", ("measure", "value", "n"), [tuple(m.values()) for m in means], content)


def _evaluate_groups(session: Session, groups: Path | None, truth: Path | None) -> None:
    from dataclasses import asdict

    from mmprod.eval.figures.groups import grouping
    from mmprod.stages.review.groups import read_groups

    if groups is None or truth is None:
        raise InputError("groups are evaluated against the true ones: give both --groups and --truth")
    found = grouping(read_groups(groups), read_groups(truth))
    rows = [(name, one.value, f"{one.low:.3f}–{one.high:.3f}", one.n) for name, one in found.items()]
    content = {"groups": {name: asdict(one) for name, one in found.items()}}
    session.table("groups", ("measure", "value", "95 %", "n"), rows, content)


def _evaluate_foreign(
    session: Session,
    recall: Path | None,
    labels: Sequence[Path],
    reviewer: str,
    trec_out: Path | None,
    out: Path | None,
) -> None:
    from mmprod.stages.review.evaluation import assess
    from mmprod.stages.review.foreign import evaluated, judge, read_recall_file
    from mmprod.stages.review.trec import write_trec

    if recall is None or not labels:
        raise InputError("a recall table is evaluated by label files: give both --recall and --labels")
    judged, judgements, files = judge(read_recall_file(recall), labels, session.config.review, reviewer)
    found = assess(judged, judgements, {}, session.config.review, recall.stem)
    if trec_out:
        write_trec(judged, trec_out)
    content: dict[str, Any] = {
        "files": [_told(session, *read, out) for read in zip(labels, files, strict=True)]
    }
    if out:
        from mmprod.report.page import Card, save
        from mmprod.report.review.evaluation import evaluation_page

        page = evaluation_page(
            evaluated(recall.stem, judged, found),
            session.config.review,
            lambda product, note, mark: Card(product, "", None, note, mark),
        )
        save(page, out)
        content["report"] = str(out)
    _show(session, found.tables["metrics"], content)


def _told(session: Session, path: Path, read: "LabelFile", out: Path | None) -> dict[str, int]:
    """What became of a label file's rows; those that don't count are given back beside the report."""
    from mmprod.eval.labels import write_rejected

    counts = dict(read.counts)
    if not session.json:
        typer.echo(f"{path}: {' · '.join(f'{name} {count:,}' for name, count in counts.items() if count)}")
    if read.rejected and out:
        write_rejected(out.with_name(f"{path.stem}.rejected.csv"), read)
    elif read.rejected and not session.json:
        typer.echo(
            f"first: line {read.rejected[0].line}, {read.rejected[0].reason}; --out gives all of them back"
        )
    return counts


def _evaluate_lake(
    session: Session, survey: str | None, trec_out: Path | None, out: Path | None, strict: bool, wait: bool
) -> None:
    from mmprod.report.review.evaluations import write_reports
    from mmprod.stages.review.evaluation import evaluate as evaluate_stage
    from mmprod.stages.review.evaluation import read_assessment
    from mmprod.stages.review.survey import known_survey
    from mmprod.stages.review.trec import write_trec

    lake, config = session.lake, session.config
    name = known_survey(lake, config, survey)
    with lake.reviewing(wait):
        outcome = evaluate_stage(lake, config, name)
        with session.store() as store:
            report = write_reports(lake, config, store, name, out)
    found = read_assessment(lake, name)
    if trec_out:
        from mmprod.stages.review.evaluation import judge_survey

        write_trec(judge_survey(lake, config, name), trec_out)
    content = {"stages": [outcome.to_dict()], "alerts": list(found.alerts), "report": str(report)}
    _show(session, found.tables["metrics"], content)
    if strict and found.alerts:
        raise StateError("; ".join(found.alerts))


def _show(session: Session, metrics: "pa.Table", content: dict[str, Any]) -> None:
    """The ways to count unjudged products side by side over all, then the figures by category and band."""
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
    """A line a system and measure; the interval is that of the estimate."""
    lines: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    for row in rows:
        if row["facet"] == "all":
            lines.setdefault((row["system"], row["measure"]), {})[row["variant"] or "pooled"] = row
    for key, found in lines.items():
        main = found.get("pooled", {})
        values = [found.get(name, {}).get("value") for name in ("pooled", "judged", "pessimistic")]
        yield (*key, values[0], _span(main), *values[1:], main.get("n"))


def _by_scope(rows: Sequence[dict[str, Any]], measures: Sequence[str]) -> Iterator[tuple[Any, ...]]:
    """A line a system and category or band, the measures with their intervals."""
    lines: dict[tuple[str, str], dict[str, dict[str, Any]]] = {}
    for row in rows:
        if row["facet"] != "all" and row["variant"] == "pooled":
            lines.setdefault((row["system"], row["scope"]), {})[row["measure"]] = row
    for key, found in lines.items():
        told = [f"{found[m]['value']:.3f} {_span(found[m])}" if m in found else None for m in measures]
        yield (*key, max(row["n"] for row in found.values()), *told)


def _span(row: dict[str, Any]) -> str | None:
    return None if row.get("low") is None else f"{row['low']:.3f}–{row['high']:.3f}"


def compare(
    before: Annotated[str, typer.Argument(help="A system of the survey, as `mmprod evaluate` names it.")],
    after: Annotated[str, typer.Argument(help="Another one.")],
    survey: SurveyOption = None,
    config: ConfigOption = None,
    lake: LakeOption = None,
    json: JsonOption = False,
) -> None:
    """What got better and worse from one system to another, on the labels they share.

    Example: mmprod review compare similar_item same_item
    """
    session = Session(config, lake, json)
    from mmprod.eval.compare.paired import compare as compare_systems
    from mmprod.stages.review.evaluation import judge_survey
    from mmprod.stages.review.survey import known_survey

    review_section = session.config.review
    judged = judge_survey(session.lake, session.config, known_survey(session.lake, session.config, survey))
    table = compare_systems(judged, before, after, review_section.all_measures)
    names = ("scope", "measure", "value_a", "value_b", "difference", "low", "high", "p_adjusted", "n")
    rows = [tuple(row[name] for name in names) for row in table.to_pylist() if row["variant"] == "pooled"]
    headings = ("scope", "measure", before, after, "difference", "low", "high", "p", "anchors")
    session.table("comparison", headings, rows, {"differences": table.to_pylist()})


def weights(
    survey: SurveyOption = None,
    system: Annotated[
        str | None, typer.Option("--system", help="Whose candidates; the survey's own profile.")
    ] = None,
    config: ConfigOption = None,
    lake: LakeOption = None,
    json: JsonOption = False,
) -> None:
    """Which weight of pictures against titles fits the labels best, by category, and what 1:1 and 7:3 lose.

    Example: mmprod review weights
    """
    session = Session(config, lake, json)
    from mmprod.eval.weights import fit_weights
    from mmprod.stages.review.evaluation import judge_survey
    from mmprod.stages.review.survey import known_survey

    name = known_survey(session.lake, session.config, survey)
    table = fit_weights(judge_survey(session.lake, session.config, name), system or name)
    names = (
        "scope",
        "anchors",
        "image_weight",
        "auc",
        "auc_1_1",
        "auc_7_3",
        "advised",
        "threshold",
        "precision",
    )
    rows = [tuple(row[column] for column in names) for row in table.to_pylist()]
    session.table("weights from labels", names, rows, {"weights": table.to_pylist()})
