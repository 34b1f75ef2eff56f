"""Texts of reports: names and explanations of figures, and interpretations of coefficients."""

from collections.abc import Iterable

from mmprod.eval.measures.measure import Measure
from mmprod.eval.measures.named import find

VARIANTS = {"pooled": "estimated", "judged": "judged only", "pessimistic": "at worst"}
"""Column headings for the ways to count unjudged products."""

UNJUDGED = (
    "Not every product is judged, so each figure is given in three ways. Estimated: judged products "
    "represent the others at similar ranks; this is the figure to quote. Judged only: products without a "
    "verdict are removed from the lists. At worst: they all count as not the same. The line in a bar is the "
    "95 % interval."
)

_TERMS = {
    "Agreement (κ, α)": "How far reviewers agree beyond chance: 1 is full agreement, 0 is mere chance.",
    "Anchor": "A product, or a text that was searched for, for which systems find products.",
    "At worst": "The figure if every product without a verdict were not the same (pessimistic).",
    "Chance": (
        "p is the probability that two equally good systems differ this much by chance. It is corrected "
        "for the number of categories (Holm), so that chance is not taken for a finding."
    ),
    "Contested pair": "A pair on which reviewers gave different answers.",
    "Coverage": "The share of the products a system lists first that have a verdict.",
    "Estimated": (
        "The figure over all products: judged ones represent unjudged ones of similar rank (pooled)."
    ),
    "Gold pair": "A pair whose answer is known, mixed in to check how carefully a reviewer works.",
    "Interval": "The range that contains the true figure in 95 of 100 surveys like this one.",
    "Judged only": "The figure if products without a verdict are removed from the lists.",
    "Repeat": "A pair shown twice to the same reviewer, whose answers should be equal.",
    "Same": ("What reviewers are asked: are these two the same; for a text, does the product fit it."),
    "Sales band": "Anchors grouped by sales, from the best-selling down.",
    "System": "What found the products: a profile, an older model, keyword search.",
    "Threshold": "A score; products that score at least this much count as the same.",
    "Weight": "The number of products of the catalogue that an anchor of the sample represents.",
}


def figure_name(name: str) -> str:
    """The name of a figure in reports, by its measure in METRIC: ``"AP@10"`` is ``"mAP@10"``."""
    measure = find(name)
    return measure.heading if measure else {"judged": "coverage"}.get(name, name)


def glossary(measures: Iterable[Measure]) -> list[tuple[str, str]]:
    """The explanations of a report's terms and measures, in alphabetical order."""
    meanings = [
        (
            measure.heading if measure.cutoff else measure.heading.capitalize(),
            measure.meaning.format(k=measure.cutoff),
        )
        for measure in measures
    ]
    return sorted([*_TERMS.items(), *meanings], key=lambda term: term[0].lower())


def chance(p: float) -> str:
    """An adjusted p in words: ``"hardly chance (p = 0.012)"``."""
    told = "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
    if p < 0.05:
        return f"hardly chance ({told})"
    return f"may be chance ({told})" if p < 0.2 else f"no difference shown ({told})"


def reading(alpha: float | None) -> str:
    """An interpretation of Krippendorff's α, by his own bounds (Content Analysis, 2004, p. 241)."""
    if alpha is None:
        return "It is not yet known: too few pairs were answered by two reviewers, or all answers are alike."
    if alpha >= 0.8:
        return "That is reliable: another team would come to nearly the same figures."
    if alpha >= 0.667:
        return "That is good enough for tentative conclusions: discuss the contested pairs below."
    return "That is too low to rely on: use the contested pairs below to agree on what “the same” means."
