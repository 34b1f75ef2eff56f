"""Pages about what is in a lake: an answer with its pictures, and the report of the whole."""

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field

from mmprod.datasets.store.store import Store
from mmprod.encoders.encoder import Encoder
from mmprod.eval.survey.pair import pair_id
from mmprod.lake import Lake
from mmprod.report.card import card
from mmprod.report.page import Card, Figure, Page, Part, Strip, Table
from mmprod.sections import Config
from mmprod.stages.outcome import Outcome
from mmprod.stages.review.evaluation import read_assessment
from mmprod.stages.review.judgements import verdicts
from mmprod.stages.review.survey import Looks, looks
from mmprod.stages.search.search import Found, search_product, search_text
from mmprod.storage import artifacts
from mmprod.storage.errors import InputError


def cards(store: Store, found: Sequence[Found], right: Mapping[str, bool] | None = None) -> list[Card]:
    """The products of an answer; `right` says of some whether they belong there."""
    marks = {True: "right", False: "wrong", None: ""}
    return [card(store, f.product_id, _scores(f), marks[(right or {}).get(f.product_id)]) for f in found]


def _scores(found: Found) -> str:
    """The score and, where both were weighed, the picture's and the title's part in it."""
    if found.image_score is None or found.text_score is None:
        return f"{found.score:.2f}"
    return f"{found.score:.2f} · p {found.image_score:.2f} · t {found.text_score:.2f}"


def search_page(store: Store, query: str, found: Sequence[Found]) -> Page:
    """An answer to look at and to hand on."""
    return Page(
        query, [Part("", f"{len(found)} products, best first", strips=[Strip("", cards(store, found))])]
    )


def stage_table(outcomes: Sequence[Outcome], heading: str = "stage") -> Table:
    """What the stages of a run did."""
    rows = [
        (o.stage, o.rows, o.changed, o.reused, o.refused, f"{o.seconds:.2f}", f"{o.rate:,.0f}")
        for o in outcomes
    ]
    return Table((heading, "rows", "changed", "reused", "refused", "seconds", "rows/s"), rows)


@dataclass(frozen=True)
class Shown:
    """What a report of a lake shows: texts to search for and products whose neighbours to look at.

    `relevant` names, for texts whose answer is known, the products that fit.
    """

    queries: Sequence[str] = ()
    anchors: Sequence[str] = ()
    relevant: Mapping[str, Set[str]] = field(default_factory=dict)
    top: int = 8  # answers to a text
    neighbours: int = 7  # and the anchor before them


def search_part(lake: Lake, store: Store, encoder: Encoder, shown: Shown) -> Part:
    """Texts with the products whose pictures fit best."""
    strips = []
    for query in shown.queries:
        found = search_text(lake, store, encoder, query, "selection", shown.top)
        known = shown.relevant.get(query)
        right = None if known is None else {f.product_id: f.product_id in known for f in found}
        strips.append(Strip(f"“{query}”", cards(store, found, right)))
    return Part(
        "Picture search", "Texts, answered by pictures alone; titles are not looked at.", strips=strips
    )


def _judged(
    anchor: str, products: Sequence[str], shown_of: Looks, same: Mapping[str, bool]
) -> dict[str, bool]:
    """The verdicts there are on an anchor with each of some products, as they look now."""
    side, *others = zip([anchor, *products], shown_of([anchor, *products]), strict=True)
    keys = {other[0]: pair_id(side, other) for other in others}
    return {product: same[key] for product, key in keys.items() if key in same}


def neighbour_part(lake: Lake, config: Config, store: Store, shown: Shown, same: Mapping[str, bool]) -> Part:
    """Products with their nearest others under each recall profile; `same` are verdicts by pair_id."""
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
    note = "Bars with 95 % intervals. All that lies behind them is in the evaluation's own report."
    table = Table(("category", "measure", "value", "n"), rows, note)
    return Part("Accuracy by category, from reviewers' labels", tables=[table])


def lake_page(lake: Lake, config: Config, store: Store, encoder: Encoder, shown: Shown) -> Page:
    """The report of a lake: searches, neighbours and, where labels have come in, accuracy."""
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
