"""The report of a lake: searches, neighbours and accuracy."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field

from mmprod.datasets.store.store import Store
from mmprod.encoders.encoder import Encoder
from mmprod.eval.survey.pair_ids import pair_id
from mmprod.lake import Lake
from mmprod.report.answer import cards
from mmprod.report.card import card
from mmprod.report.page import Figure, Page, Part, Strip, Table
from mmprod.sections import Config
from mmprod.stages.outcome import Outcome
from mmprod.stages.review.evaluation import read_assessment
from mmprod.stages.review.judgements import verdicts
from mmprod.stages.review.survey import Looks, looks
from mmprod.stages.search.search import search_product, search_text
from mmprod.storage import artifacts
from mmprod.storage.errors import InputError


def stage_table(outcomes: Sequence[Outcome], heading: str = "stage") -> Table:
    """The outcomes of a run's stages as a table."""
    rows = [
        (o.stage, o.rows, o.changed, o.reused, o.refused, f"{o.seconds:.2f}", f"{o.rate:,.0f}")
        for o in outcomes
    ]
    return Table((heading, "rows", "changed", "reused", "refused", "seconds", "rows/s"), rows)


@dataclass(frozen=True)
class Shown:
    """The content of a lake's report: texts to search for, and products whose neighbours are shown.

    `relevant`: the products that fit, for texts whose answer is known.
    """

    queries: Sequence[str] = ()
    anchors: Sequence[str] = ()
    relevant: Mapping[str, Set[str]] = field(default_factory=dict)
    top: int = 8  # results per text
    neighbours: int = 7  # per anchor


def search_part(lake: Lake, store: Store, encoder: Encoder, shown: Shown) -> Part:
    """Texts with the products whose pictures fit best."""
    strips = []
    for query in shown.queries:
        found = search_text(lake, store, encoder, query, "selection", shown.top)
        known = shown.relevant.get(query)
        right = None if known is None else {f.product_id: f.product_id in known for f in found}
        strips.append(Strip(f"“{query}”", cards(store, found, right)))
    return Part("Picture search", "Results for texts, by pictures only; titles are not used.", strips=strips)


def _judged(
    anchor: str, products: Sequence[str], shown_of: Looks, same: Mapping[str, bool]
) -> dict[str, bool]:
    """The existing verdicts on an anchor with each of some products, with their current looks."""
    side, *others = zip([anchor, *products], shown_of([anchor, *products]), strict=True)
    keys = {other[0]: pair_id(side, other) for other in others}
    return {product: same[key] for product, key in keys.items() if key in same}


def neighbour_part(lake: Lake, config: Config, store: Store, shown: Shown, same: Mapping[str, bool]) -> Part:
    """Products with their nearest neighbours under each recall profile; `same`: verdicts by pair_id."""
    strips, shown_of = [], looks(store, config.review.profile)
    for anchor in shown.anchors:
        for profile in config.recall.profiles:
            weights = config.profile(profile)
            found = search_product(lake, store, anchor, profile, shown.neighbours)
            right = _judged(anchor, [f.product_id for f in found], shown_of, same)
            note = f"picture {weights.image:g} : title {weights.text:g}"
            strips.append(
                Strip(profile.replace("_", "-"), cards(store, found, right), card(store, anchor), note)
            )
    text = "The framed product is the anchor; p and t are the cosines of pictures and of titles."
    if same:
        text += " Green and red bars are reviewers' answers: same, not the same."
    return Part("Neighbours", text, strips=strips)


def accuracy_part(lake: Lake, config: Config) -> Part:
    """The figures of the reviewed profile's latest evaluation."""
    name = config.review.profile
    rows = [
        (row["scope"], row["measure"], Figure(row["value"], row["low"], row["high"]), row["n"])
        for row in read_assessment(lake, name).tables["metrics"].to_pylist()
        if row["system"] == name and row["variant"] in ("pooled", "") and row["facet"] != "sales"
    ]
    note = "Bars with 95 % intervals. Details are in the evaluation's own report."
    table = Table(("category", "measure", "value", "n"), rows, note)
    return Part("Accuracy by category, from reviewers' labels", tables=[table])


def lake_page(lake: Lake, config: Config, store: Store, encoder: Encoder, shown: Shown) -> Page:
    """The report of a lake: searches, neighbours and, if it was evaluated, accuracy."""
    stats = store.stats()
    parts = []
    if shown.queries:
        parts.append(search_part(lake, store, encoder, shown))
    if shown.anchors:
        parts.append(neighbour_part(lake, config, store, shown, verdicts(lake, config)))
    if artifacts.current(lake.evaluation(config.review.profile)):
        parts.append(accuracy_part(lake, config))
    if not parts:
        raise InputError("nothing to report: name --query or --anchor, or collect labels first")
    facts = [
        ("products", f"{stats.live:,}"),
        ("pictures stored", f"{stats.pictures:,}"),
        ("encoder", encoder.fingerprint[:12]),
    ]
    return Page("Catalogue report", parts, facts)
