"""`mmprod embeddings`: vectors that were made elsewhere."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from mmprod.cli.options import WaitOption, with_session
from mmprod.cli.session import Session

app = typer.Typer(
    name="embeddings", no_args_is_help=True, help="Vectors made elsewhere → an embedding table of the lake."
)


@app.command("import")
@with_session()
def import_(
    session: Session,
    file: Annotated[
        Path, typer.Argument(help="Parquet, a folder of it, Lance, or a NumPy array (.npy, with --ids).")
    ],
    encoder: Annotated[
        str, typer.Option("--encoder", help="A name for the vectors; encoder.model is then import:NAME.")
    ],
    column: Annotated[
        str | None,
        typer.Option("--column", help="The column of vectors; default: image and text, or the only one."),
    ] = None,
    modality: Annotated[
        Literal["image", "text"] | None,
        typer.Option("--modality", help="What the column's vectors are of; default: image."),
    ] = None,
    id_column: Annotated[str, typer.Option("--id", help="The column of product ids.")] = "product_id",
    ids: Annotated[
        Path | None,
        typer.Option("--ids", help="The ids of a .npy, in its order: text (one a line), .npy or Parquet."),
    ] = None,
    floats: Annotated[
        Literal["float16", "float32", "float64"],
        typer.Option("--floats", help="The numbers in a column of bytes, little-endian."),
    ] = "float32",
    model: Annotated[
        str | None,
        typer.Option("--model", help='What made them, e.g. "CLIP L/14, 224 px"; must be the same each time.'),
    ] = None,
    new: Annotated[
        bool, typer.Option("--new", help="Another model made them: give up all vectors of that name before.")
    ] = False,
    wait: WaitOption = False,
) -> None:
    """Import vectors by product id: indexes, recall, groups, searches by product and reviews then use them.

    Vectors are scaled to unit length. Rows that can't be used are left out and listed; an id in two rows, or
    vectors of different widths, are refused. Importing again writes only what differs.

    Examples: mmprod embeddings import vectors.parquet --encoder qwen

    mmprod embeddings import vectors.npy --ids ids.txt --encoder qwen --modality text

    mmprod embeddings import table.parquet --id sku --column emb --encoder qwen --model "Qwen3-VL 2B, 512 px"
    """
    from mmprod.datasets.embeddings.vector_files import VectorFile
    from mmprod.lake import IMPORTED
    from mmprod.stages.daily.import_vectors import import_vectors

    session.override({"encoder.model": IMPORTED + encoder.removeprefix(IMPORTED)})
    vectors = VectorFile(file, ids, id_column, column, modality, floats)
    with session.lake.writing(wait), session.progress() as progress, session.store() as store:
        outcome = import_vectors(session.lake, session.config, store, vectors, model, new, progress)
    session.outcomes([outcome], f"{file}  {session.config.encoder.model}")
