"""Which rows the embedding table of imported vectors needs: pure functions.

An imported vector is of one product, with the picture (or title) it had at that time. If that changes, the
vector is dropped; other products with the same picture do not get it. In such a table, `image_hash` and
`text_hash` are null where there is no vector.
"""

from collections.abc import Collection, Mapping, Sequence

import numpy as np

from mmprod.datasets.embeddings.plan import Job
from mmprod.datasets.embeddings.rows import Row
from mmprod.datasets.embeddings.vector_checks import Vectors
from mmprod.datasets.embeddings.vector_files import MODALITIES, Modality
from mmprod.datasets.store.store import Changed

BACKEND = "import"
NEVER, OUTDATED = "not_imported", "changed_since_import"
"""Why a product has no picture vector: none was imported; it changed afterwards."""


def plan(
    changed: Sequence[Changed], rows: Mapping[str, Row], inside: Collection[str], given: Vectors
) -> list[Job]:
    """One job per product whose row is out of date; none of them needs an encoder.

    `rows`: the table's rows by product id; `inside`: ids of the products that should be live in the table;
    `given`: vectors that are imported now.
    """
    jobs = [_job(change, rows.get(change.product_id), inside, given) for change in changed]
    return [job for job in jobs if _differs(rows.get(job.product_id), job)]


def touched(jobs: Sequence[Job], rows: Mapping[str, Row]) -> set[Modality]:
    """The modalities of which a live product gets or loses a vector by these jobs."""
    return {
        modality
        for modality in MODALITIES
        for job in jobs
        if not _equal(_live(rows.get(job.product_id), modality), _kept(job, modality) if job.live else None)
    }


def cosines(changed: Sequence[Changed], rows: Mapping[str, Row], given: Vectors) -> list[float]:
    """Cosines of given vectors with those imported before, of pictures and titles that are the same."""
    return [
        float(np.dot(given[modality][change.product_id].astype(np.float32), had.astype(np.float32)))
        for change in changed
        for modality in given
        if change.product_id in given[modality]
        and (had := _same(change, rows.get(change.product_id), modality)) is not None
    ]


def _job(change: Changed, row: Row | None, inside: Collection[str], given: Vectors) -> Job:
    found: dict[Modality, np.ndarray | None] = {}
    for modality in MODALITIES:
        new = given.get(modality, {}).get(change.product_id)
        found[modality] = new if new is not None else _same(change, row, modality)
    image, text = found["image"], found["text"]
    dropped = row is not None and any(
        found[modality] is None and getattr(row, modality) is not None for modality in MODALITIES
    )
    before = row.image_reason if row else None
    return Job(
        change.product_id,
        live=change.product_id in inside,
        image_hash=None if image is None else change.image_hash,
        text_hash=None if text is None else change.text_hash,
        image_reason=None if image is not None else OUTDATED if dropped else before or NEVER,
        kept_image=image,
        kept_text=text,
        image_backend=None if image is None else BACKEND,
        text_backend=None if text is None else BACKEND,
    )


def _same(change: Changed, row: Row | None, modality: Modality) -> np.ndarray | None:
    """The vector that a row has of the picture or title that the product has now."""
    if row is None or getattr(row, f"{modality}_hash") != getattr(change, f"{modality}_hash"):
        return None
    found: np.ndarray | None = getattr(row, modality)
    return found


def _differs(row: Row | None, job: Job) -> bool:
    if row is None:
        return job.live or job.kept_image is not None or job.kept_text is not None
    told = (row.live, row.image_hash, row.text_hash, row.image_reason)
    if told != (job.live, job.image_hash, job.text_hash, job.image_reason):
        return True
    return not all(_equal(getattr(row, modality), _kept(job, modality)) for modality in MODALITIES)


def _kept(job: Job, modality: Modality) -> np.ndarray | None:
    return job.kept_image if modality == "image" else job.kept_text


def _live(row: Row | None, modality: Modality) -> np.ndarray | None:
    return getattr(row, modality) if row is not None and row.live else None


def _equal(a: np.ndarray | None, b: np.ndarray | None) -> bool:
    return a is b or (a is not None and b is not None and np.array_equal(a, b))
