"""The Python interface: `mmprod.open` opens a lake for queries from a script or a notebook.

import mmprod

lake = mmprod.open("lake")
lake.search("red mug", category="Kitchen", top=20).to_pandas()
"""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc

from mmprod.config import load
from mmprod.datasets.schemas import METRIC, RECALL, category_path
from mmprod.datasets.threads import limit
from mmprod.lake import Lake
from mmprod.notebook import Rows
from mmprod.reader import Reader
from mmprod.report.card import card
from mmprod.report.page import Card
from mmprod.retrieval.columns import texts_to_arrow
from mmprod.stages.daily.embed import read_embeddings
from mmprod.stages.daily.recall import read_recall
from mmprod.stages.review.evaluation import read_assessment
from mmprod.stages.search.answer import Asked, answer
from mmprod.stages.search.query import Query
from mmprod.stages.search.search import as_table
from mmprod.stages.search.similarity import Similarity, similarity
from mmprod.storage import artifacts

_PRODUCT = pa.schema(
    [
        pa.field("product_id", pa.string(), nullable=False),
        pa.field("title", pa.string()),
        pa.field("category", pa.string()),  # the whole path, "Home > Lighting"
        pa.field("brand", pa.string()),
        pa.field("sales", pa.int64()),
        pa.field("spu_id", pa.string()),
        pa.field("live", pa.bool_()),
        pa.field("attributes", pa.map_(pa.string(), pa.string())),
        pa.field("picture", pa.binary()),  # the file as delivered
    ]
)
_EVALUATION = pa.schema([pa.field("survey", pa.string()), pa.field("generation", pa.string()), *METRIC])


class OpenLake:
    """A lake held open for many queries.

    The store, indexes and encoder are opened at the first query that needs them and kept open. When a new
    generation of an index comes into use, the next query uses it. A context manager; thread-safe.
    """

    def __init__(self, reader: Reader) -> None:
        self._reader = reader

    def search(
        self,
        *texts: str,
        image: str | Path | Sequence[str | Path] = (),
        without: str | Sequence[str] = (),
        without_image: str | Path | Sequence[str | Path] = (),
        profile: str = "selection",
        category: str | None = None,
        top: int = 10,
        min_score: float | str | None = None,
        fold: bool = True,
        rerank: int = 0,
    ) -> Rows:
        """The products whose pictures fit texts and picture files best, best first.

        `without`, `without_image`: texts and pictures that products should not fit. `category`: this
        category and those below it. `min_score`: the lowest score returned, or "labels" for the
        threshold that reviewers' labels suggest. `fold`: return near copies as one row; column `more`
        counts the others. `rerank`: reorder this many of the first results by BLIP's matching score.
        Columns: rank, product_id, score (a cosine), image_score, text_score, title, category,
        match_score and more. Raises: InputError for an empty query, an unusable picture, an unknown
        category or profile; StateError if there is no index.
        """
        query = Query(texts, _files(image), _several(without), _files(without_image))
        return self._found(Asked(query, None, profile, category, top, _least(min_score), fold, rerank))

    def neighbours(
        self,
        product_id: str,
        *,
        profile: str = "same_item",
        category: str | None = None,
        top: int = 10,
        min_score: float | str | None = None,
        fold: bool = True,
    ) -> Rows:
        """The nearest neighbours of a product, itself excluded; options and columns are those of `search`.

        Raises: InputError for a product that is not in the index.
        """
        return self._found(Asked(Query(), product_id, profile, category, top, _least(min_score), fold))

    def similarity(self, a: str, b: str) -> Similarity:
        """How alike two products are: cosines of their pictures and titles, and each profile's score.

        Raises: InputError for an unknown product.
        """
        reader = self._reader
        return similarity(reader.config, reader.store, reader.comparing_encoder(), a, b)

    def products(self, product_ids: Sequence[str]) -> Rows:
        """The stored data of these products, in the given order; unknown ids are left out.

        Columns: product_id, title, category, brand, sales, spu_id, live, attributes, picture (bytes).
        """
        store = self._reader.store
        rows = [
            {
                "product_id": record.product_id,
                "title": record.title,
                "category": category_path(record.category),
                "brand": record.brand,
                "sales": record.sales,
                "spu_id": record.spu_id,
                "live": record.live,
                "attributes": record.attributes,
                "picture": store.picture(record.image_hash),
            }
            for record in store.get_many(product_ids)
            if record
        ]
        return self._rows(pa.Table.from_pylist(rows, schema=_PRODUCT))

    def vectors(self, product_ids: Sequence[str]) -> pa.Table:
        """The vectors of these products under the configured encoder; products without vectors are left out.

        Columns: product_id, image, text: float16 of unit length, null where there is no picture or title.
        Raises: StateError if nothing has been embedded yet.
        """
        table = read_embeddings(self._reader.lake, self._reader.config)
        return table.vectors_of(product_ids)

    def recall(self, profile: str = "same_item", product_ids: Sequence[str] | None = None) -> pa.Table:
        """The recall table of a profile: the neighbours of every product, or only of `product_ids`.

        Columns: anchor_id, product_id, rank, score, image_score, text_score.
        Raises: InputError for an unknown profile; StateError if the table is missing or damaged.
        """
        self._reader.config.profile(profile)
        table = read_recall(self._reader.lake, profile)
        if product_ids is not None:
            table = table.filter(pc.is_in(table["anchor_id"], texts_to_arrow(product_ids)))
        return table.cast(RECALL)

    def evaluations(self) -> Rows:
        """The figures of the current evaluation of each survey.

        Columns: survey, generation, system, facet, scope, measure, variant, value, low, high, n.
        """
        return self._rows(pa.Table.from_batches(self._figures(), _EVALUATION))

    def close(self) -> None:
        """Close all open files."""
        self._reader.close()

    def __enter__(self) -> "OpenLake":
        return self

    def __exit__(self, *raised: object) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"mmprod.open({str(self._reader.lake.root)!r})"

    def _figures(self) -> Iterator[pa.RecordBatch]:
        lake = self._reader.lake
        for root in sorted(lake.evaluations.glob("*")):
            if generation := artifacts.current(root):
                for batch in read_assessment(lake, root.name).tables["metrics"].to_batches():
                    names = [pa.array([text] * batch.num_rows) for text in (root.name, generation)]
                    yield pa.RecordBatch.from_arrays([*names, *batch.columns], schema=_EVALUATION)

    def _found(self, asked: Asked) -> Rows:
        return self._rows(as_table(answer(self._reader, asked)))

    def _rows(self, table: pa.Table) -> Rows:
        return Rows(table, self._card)

    def _card(self, product_id: str) -> Card:
        return card(self._reader.store, product_id)


def open_lake(folder: str | Path | None = None, config: str | Path | None = None) -> OpenLake:
    """Open the lake `folder`, or the one named by the configuration (default: mmprod.toml, if it exists)."""
    loaded = load(Path(config) if config else None, {"lake": str(folder)} if folder else {}).config
    limit(loaded.thread_count)
    return OpenLake(Reader(Lake(loaded.lake), loaded))


def _several(given: str | Sequence[str]) -> Sequence[str]:
    return [given] if isinstance(given, str) else given


def _files(given: str | Path | Sequence[str | Path]) -> list[Path]:
    return [Path(given)] if isinstance(given, str | Path) else [Path(one) for one in given]


def _least(score: float | str | None) -> str | None:
    return None if score is None else str(score)
