"""The words of a report: what figures are called, what they mean, what a coefficient says in plain terms."""

from collections.abc import Iterable

from mmprod.eval.measures.measure import Measure
from mmprod.eval.measures.named import find

VARIANTS = {"pooled": "estimated", "judged": "judged only", "pessimistic": "at worst"}
"""Column headings for the ways to count products nobody has judged."""

UNJUDGED = (
    "Nobody judges every product, so each figure is given in three ways. Estimated: judged products stand "
    "for the others at like ranks; this is the figure to quote. Judged only: products without a verdict "
    "are taken out of the lists. At worst: they all count as not the same. The line in a bar is the 95 % "
    "interval."
)

_TERMS = {
    "Agreement (κ, α)": "How far reviewers agree beyond chance: 1 is full agreement, 0 is mere chance.",
    "Anchor": "A product, or a text somebody searched for, for which systems find other products.",
    "At worst": "The figure if every product without a verdict were not the same (pessimistic).",
    "Chance": (
        "p is how often two equally good systems would differ as much by luck. It is raised "
        "where many categories are looked at (Holm), so that luck is not taken for a finding."
    ),
    "Contested pair": "A pair on which reviewers gave different answers.",
    "Coverage": "The share of the products a system lists first that have a verdict.",
    "Estimated": ("The figure over all products: judged ones stand for unjudged ones of like rank (pooled)."),
    "Gold pair": "A pair whose answer is known, mixed in to see how carefully a reviewer looks.",
    "Interval": "The range in which the true figure lies for 95 of 100 surveys like this one.",
    "Judged only": "The figure when products without a verdict are taken out of the lists.",
    "Repeat": "A pair shown twice to the same reviewer, who should answer alike.",
    "Same": ("What reviewers are asked: are these two the same; for a text, does the product fit it."),
    "Sales band": "Anchors by how well they sell, from the best selling down.",
    "System": "Whatever found the products: a profile, an older model, keyword search.",
    "Threshold": "A score; products that score at least that much are taken to be the same.",
    "Weight": "How many products of the catalogue an anchor of the sample stands for.",
}


def figure_name(name: str) -> str:
    """What a figure is called in a meeting, by its measure in METRIC: ``"AP@10"`` is ``"mAP@10"``."""
    measure = find(name)
    return measure.heading if measure else {"judged": "coverage"}.get(name, name)


def glossary(measures: Iterable[Measure]) -> list[tuple[str, str]]:
    """What the words of a report mean, in order of the alphabet, its measures among them."""
    meanings = [
        (
            measure.heading if measure.cutoff else measure.heading.capitalize(),
            measure.meaning.format(k=measure.cutoff),
        )
        for measure in measures
    ]
    return sorted([*_TERMS.items(), *meanings], key=lambda term: term[0].lower())


def chance(p: float) -> str:
    """What an adjusted p says: ``"hardly chance (p = 0.012)"``."""
    told = "p < 0.001" if p < 0.001 else f"p = {p:.3f}"
    if p < 0.05:
        return f"hardly chance ({told})"
    return f"may be chance ({told})" if p < 0.2 else f"no difference shown ({told})"


def reading(alpha: float | None) -> str:
    """What Krippendorff's α allows, by the bounds he gives (Content Analysis, 2004, p. 241)."""
    if alpha is None:
        return "It can't be told yet: too few pairs were answered by two reviewers, or all answers are alike."
    if alpha >= 0.8:
        return "That is reliable: another team would come to nearly the same figures."
    if alpha >= 0.667:
        return "That is good enough for tentative conclusions: discuss the contested pairs below."
    return "That is too little to rely on: agree on what “the same” means over the contested pairs below."
