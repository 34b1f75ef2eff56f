"""The report of an evaluation: the figures first, how they were obtained last."""

from collections.abc import Iterator, Sequence
from datetime import datetime

from mmprod.eval.figures.metrics import covered_depth
from mmprod.report.page import Headline, Notice, Page, Part, Table, percent
from mmprod.report.review.compared import comparison_parts, gain_part, verdicts
from mmprod.report.review.pictures import contested_part, search_part, worst_part
from mmprod.report.review.reviewers import careless, reviewer_part
from mmprod.report.review.sample import sample_part
from mmprod.report.review.subject import PRECISION, CardOf, Subject, figure_of
from mmprod.report.review.thresholds import threshold_part
from mmprod.report.review.weeks import history_part
from mmprod.report.review.words import UNJUDGED, VARIANTS, glossary
from mmprod.sections import Review
from mmprod.stages.review.evaluation import Evaluated


def evaluation_page(evaluated: Evaluated, review: Review, card_of: CardOf) -> Page:
    """The report of an evaluation; empty parts are left out.

    `card_of`: returns a product's card for product_id, note and mark (see Card). `review`: the configuration
    of the evaluation.
    """
    subject = Subject(evaluated, review, card_of)
    parts = [
        summary_part(subject),
        whole_part(subject),
        scope_part(subject, "category", "category", "Weakest first, by precision."),
        scope_part(subject, "sales", "sales", "From the best selling products down."),
        threshold_part(subject),
        *comparison_parts(subject),
        gain_part(subject),
        worst_part(subject),
        search_part(subject),
        group_part(subject),
        reviewer_part(subject),
        contested_part(subject),
        coverage_part(subject),
        history_part(subject),
        sample_part(subject),
        Part("Glossary", terms=glossary(subject.measures)),
    ]
    return Page(f"Evaluation: {evaluated.name}", [part for part in parts if part], _facts(subject))


def _facts(subject: Subject) -> list[tuple[str, str]]:
    pool, quality = subject.judged.pool, subject.tables["quality"]
    return [
        ("figures of", f"{datetime.fromisoformat(subject.evaluated.made_at):%Y-%m-%d %H:%M}"),
        ("evaluation", subject.evaluated.generation),
        ("anchors", f"{subject.judged.anchors.num_rows:,}"),
        ("pairs judged", f"{int((pool.verdict >= 0).sum()):,} of {len(pool.verdict):,}"),
        ("reviewers", f"{quality.num_rows:,}"),
    ]


def summary_part(subject: Subject) -> Part:
    """The headline figures of each system, alerts and other important findings."""
    several = len(subject.systems) > 1 or subject.systems[0] != subject.evaluated.name
    shown = [(name if several else "", _headlines(subject, name)) for name in subject.systems]
    text = "Estimated for everything that the sample represents, with 95 % intervals."
    return Part("In short", text, headlines=shown, notices=list(_notices(subject)))


def _headlines(subject: Subject, system: str) -> list[Headline]:
    made = []
    for measure in subject.headlines:
        estimated = figure_of(subject.figure(system, measure.name))
        if figure := estimated or figure_of(subject.figure(system, measure.name, "judged")):
            note = "" if estimated else "of judged products only"
            made.append(Headline(measure.heading, figure, note))
    return made


def _notices(subject: Subject) -> Iterator[Notice]:
    alerts = subject.evaluated.assessment.alerts
    yield from (Notice(f"Alert: {text}", "bad") for text in alerts)
    if not alerts and len(subject.evaluated.history["made_at"].unique()) > 1:
        yield Notice("No alert: no figure with an alert has fallen significantly.", "good")
    system, names = subject.systems[0], subject.scopes("category")
    rows = [subject.figure(system, PRECISION.name, "pooled", "category", name) for name in names]
    known = [row for row in rows if row]
    if known and known[0]["value"] < known[-1]["value"]:
        least, most = (f"{row['scope']} ({percent(row['value'])})" for row in (known[0], known[-1]))
        yield Notice(f"Precision is weakest in {least} and best in {most}.")
    yield from (Notice(text) for text in verdicts(subject))
    yield from (Notice(text, "bad") for text in careless(subject))


def whole_part(subject: Subject) -> Part:
    """Every measure overall, under each way to count unjudged products."""
    rows = [
        (measure.heading, *cells)
        for measure in subject.measures
        for cells in _by_system(subject, "all", "all", measure.name)
    ]
    return Part("All figures", UNJUDGED, tables=[Table(_headings(subject, "measure"), rows)])


def scope_part(subject: Subject, facet: str, heading: str, text: str) -> Part | None:
    """Every measure by category or band."""
    scopes = subject.scopes(facet)
    if len(scopes) < 2:
        return None
    tables = []
    for measure in subject.measures:
        rows = [(name, *cells) for name in scopes for cells in _by_system(subject, facet, name, measure.name)]
        folded = measure != subject.measures[0]
        tables.append(Table(_headings(subject, heading), rows, title=measure.heading, folded=folded))
    return Part(f"By {heading}", text, tables=tables)


def _headings(subject: Subject, first: str) -> Sequence[str]:
    return (first, *(["system"] if len(subject.systems) > 1 else []), *VARIANTS.values(), "anchors")


def _by_system(subject: Subject, facet: str, scope: str, measure: str) -> Iterator[tuple[object, ...]]:
    """The cells of a row for each system: its name if there are several, the variants, and the anchors."""
    for system in subject.systems:
        found = [subject.figure(system, measure, variant, facet, scope) for variant in VARIANTS]
        if counts := [row["n"] for row in found if row]:
            named = [system] if len(subject.systems) > 1 else []
            yield (*named, *map(figure_of, found), max(counts))


def group_part(subject: Subject) -> Part | None:
    """Purity of the groups of products that result from score thresholds."""
    rows = []
    for facet, scope in _whole_and_categories(subject):
        for system in subject.systems:
            pure = subject.figure(system, "group purity", "judged", facet, scope)
            size = subject.figure(system, "group size", "", facet, scope)
            if pure:
                mean = f"{size['value']:.1f}" if size else None
                rows.append((_named(facet, scope), system, figure_of(pure), mean, pure["n"]))
    if not rows or subject.texts:
        return None
    wanted = percent(min(subject.review.wanted_precision))
    text = (
        "If an anchor and all it found above the score threshold of its category are taken to be one item: "
        f"how often is that group right as a whole? The thresholds are those for a precision of {wanted}."
    )
    headings = ("category", "system", "pure groups", "mean size", "groups judged")
    return Part("Groups of the same item", text, tables=[Table(headings, rows)])


def _whole_and_categories(subject: Subject) -> list[tuple[str, str]]:
    """Facets and scopes: everything, and the categories if there are several."""
    names = subject.scopes("category")
    return [("all", "all"), *(("category", name) for name in names if len(names) > 1)]


def _named(facet: str, scope: str) -> str:
    return "everything" if facet == "all" else scope


def coverage_part(subject: Subject) -> Part | None:
    """The share of the systems' results that has a verdict."""
    rows: list[tuple[object, ...]] = []
    for facet, scope in _whole_and_categories(subject):
        found = [subject.figure(system, "judged", "", facet, scope) for system in subject.systems]
        if any(found):
            rows.append((_named(facet, scope), *map(figure_of, found)))
    depth = covered_depth(subject.judged, subject.measures)
    text = f"The share of the first {depth} products of each list that has a verdict. The rest is estimated."
    return Part("Coverage", text, tables=[Table(("category", *subject.systems), rows)]) if rows else None
