"""`mmprod caption`: captions for products, written from their pictures."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from mmprod.cli.options import with_session
from mmprod.cli.session import Session

_SHOWN = 20  # rows of the printed table; files and --json hold all


@with_session()
def caption(
    session: Session,
    product: Annotated[
        list[str] | None, typer.Option("--product", help="This product id; may be given several times.")
    ] = None,
    category: Annotated[
        str | None, typer.Option("--category", help='Products of this category, e.g. "Home > Lighting".')
    ] = None,
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="At most this many products.")] = None,
    encoder: Annotated[
        str | None, typer.Option("--encoder", help="A BLIP: lake:…, local-dir:… or transformers:….")
    ] = None,
    prompt: Annotated[
        str | None,
        typer.Option("--prompt", help="The beginning of every caption, instead of the configured prompts."),
    ] = None,
    method: Annotated[
        str | None, typer.Option("--method", help="beam: the likeliest words; nucleus: sampled, more varied.")
    ] = None,
    beams: Annotated[int | None, typer.Option("--beams", help="Width of the beam search.")] = None,
    top_p: Annotated[
        float | None, typer.Option("--top-p", help="nucleus: total probability of the words sampled from.")
    ] = None,
    max_tokens: Annotated[
        int | None, typer.Option("--max-tokens", help="Length limit of a caption, without the prompt.")
    ] = None,
    seed: Annotated[int | None, typer.Option("--seed", help="nucleus: random seed.")] = None,
    out: Annotated[
        Path | None, typer.Option("--out", help="Write all captions to a .json or .parquet.")
    ] = None,
) -> None:
    """Write captions for products from their pictures, with a BLIP encoder.

    Examples: mmprod caption --product D000012 --prompt "a photo of"

    mmprod caption --encoder lake:caption --category "Home > Lighting" --out captions.parquet
    """
    style = {"method": method, "beams": beams, "top_p": top_p, "max_tokens": max_tokens, "seed": seed}
    session.override({"encoder.model": encoder, **{f"caption.{key}": value for key, value in style.items()}})
    from mmprod.encoders.blip.caption import captioner
    from mmprod.stages.encoder import load_encoder
    from mmprod.stages.training.caption import caption_products, check_name, choose, write_captions

    if out:
        check_name(out)
    blip = load_encoder(session.lake, session.config)
    captioner(blip)  # raises for an encoder that can't caption, before the store is read
    with session.store() as store, session.progress() as progress:
        products = choose(store, product or (), category, limit)
        advance = progress("caption", len(products))
        made = list(caption_products(session.config, store, blip, products, prompt, advance))
    if out:
        write_captions(made, out)
    rows = [
        (c.product_id, c.title[:50], c.caption or f"({c.reason})", c.log_probability) for c in made[:_SHOWN]
    ]
    without = sum(c.caption is None for c in made)
    title = f"{len(made) - without} captions" + (f", {without} products without" if without else "")
    headings = ("product", "title", "caption", "log p")
    session.table(title, headings, rows, {"captions": [asdict(c) for c in made]})
    if out:
        typer.echo(f"written to {out}", err=True)
