"""The part of an evaluation's report about the reviewers: their agreement, and who looks careless."""

from collections.abc import Iterator

from mmprod.report.page import Figure, Notice, Part, Table, percent
from mmprod.report.review.subject import Row, Subject
from mmprod.report.review.words import reading

HEADINGS = (
    *("reviewer", "answers", "says “same”", "gold right", "of"),
    *("repeats alike", "of", "as the others", "of"),
)


def reviewer_part(subject: Subject) -> Part | None:
    """Each reviewer's record, and how far they agree."""
    rows = subject.tables["quality"].to_pylist()
    if not rows:
        return None
    tables = [Table(HEADINGS, [_record(row) for row in rows])]
    cohen = subject.tables["cohen"].to_pylist()
    if len(cohen) > 1:
        headings = ("reviewers", "alike", "κ", "pairs")
        tables.append(Table(headings, [_two(row) for row in cohen], title="Every two reviewers", folded=True))
    notices = [Notice(text, "bad") for text in careless(subject)]
    return Part("Reviewers", _agreement(subject), tables, notices=notices)


def careless(subject: Subject) -> Iterator[str]:
    """A sentence about each reviewer whose answers are suspicious."""
    for row in subject.tables["quality"].to_pylist():
        if row["note"]:
            yield f"{row['reviewer'] or 'A reviewer without a name'} looks careless: {row['note']}."


def _agreement(subject: Subject) -> str:
    found = subject.evaluated.assessment.agreement
    if found.observed is None:
        return "No pair was answered by two reviewers, so their agreement is unknown."
    coefficients = [
        f"{name} {_number(value)}"
        for name, value in (
            ("Krippendorff's α", found.alpha),
            ("Fleiss' κ", found.fleiss),
            ("mean Cohen's κ", found.cohen),
        )
        if value is not None
    ]
    told = f" Beyond chance: {', '.join(coefficients)}." if coefficients else ""
    return (
        f"All answers so far: {found.reviewers} reviewers have {found.pairs:,} pairs in common; "
        f"{percent(found.observed)} of the answers to them are alike.{told} {reading(found.alpha)}"
    )


def _record(row: Row) -> tuple[object, ...]:
    gold = None if row["gold_right"] is None else Figure(row["gold_right"], row["gold_low"], row["gold_high"])
    alike, others = (None if row[n] is None else percent(row[n]) for n in ("repeats_alike", "with_others"))
    return (
        row["reviewer"] or "(no name)",
        row["answers"],
        percent(row["same_share"]),
        gold,
        row["gold"],
        alike,
        row["repeats"],
        others,
        row["shared"],
    )


def _two(row: Row) -> tuple[object, ...]:
    names = f"{row['reviewer']} and {row['other']}"
    return names, Figure(row["observed"]), _number(row["kappa"]), row["pairs"]


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"
