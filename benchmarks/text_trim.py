"""Titles through a text tower: all 77 columns, only those the batch needs, sorted by length besides, and in
the fixed shapes in which every title's vector is the same in any company.

    python benchmarks/text_trim.py [--table ../shared/data/fashion/products.parquet] [--titles 512]

A ViT-B-32 text tower with random weights (speed does not depend on them), torch eager in float32. The four
ways take turns; medians. The vectors are compared with those of the padded way.
"""

import argparse
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import open_clip
import pyarrow.parquet as pq
import torch
from torch import Tensor, nn

from mmprod.encoders.shapes import fixed
from mmprod.encoders.towers import encode_text, lengths, trim

ROUNDS, BATCH = 3, 64
Way = Callable[[nn.Module, Tensor], Tensor]
TABLE = Path(__file__).parents[2] / "shared" / "data" / "fashion" / "products.parquet"


def padded(model: nn.Module, tokens: Tensor) -> Tensor:
    """Batch after batch, as open_clip does it."""
    return torch.cat([model.encode_text(part, normalize=True) for part in tokens.split(BATCH)])  # type: ignore[operator]


def trimmed(model: nn.Module, tokens: Tensor) -> Tensor:
    """Each batch on as many columns as its longest title needs."""
    parts = (trim(model, part) for part in tokens.split(BATCH))
    return torch.cat([encode_text(model, part, normalize=True) for part in parts])


def sorted_too(model: nn.Module, tokens: Tensor) -> Tensor:
    """Batches of about equal length, and back into the first order."""
    order = lengths(model, tokens).argsort(stable=True)
    return trimmed(model, tokens[order])[order.argsort()]


def fixed_shapes(model: nn.Module, tokens: Tensor) -> Tensor:
    """As an encoder does it: a few fixed shapes, filled up."""
    found = torch.empty(len(tokens), 512)
    for batch in fixed(lengths(model, tokens).tolist(), tokens.shape[1]):
        some = tokens[batch.rows][batch.filling, : batch.columns]
        found[batch.rows] = encode_text(model, some, normalize=True)[: len(batch.rows)]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--table", type=Path, default=TABLE)
    parser.add_argument("--titles", type=int, default=512)
    given = parser.parse_args()
    if not given.table.is_file():
        raise SystemExit(f"no table {given.table}: name one with a title column by --table")
    titles = pq.read_table(given.table, columns=["title"])["title"].to_pylist()
    some = titles[:: max(1, len(titles) // given.titles)][: given.titles]
    torch.manual_seed(0)
    model = open_clip.create_model("ViT-B-32").eval()
    tokens = open_clip.get_tokenizer("ViT-B-32")(some)
    needed = lengths(model, tokens).float()
    print(
        f"{len(some)} titles of {needed.mean():.1f} tokens (at most {needed.max():.0f}), batches of {BATCH}"
    )
    compare(model, tokens, (padded, trimmed, sorted_too, fixed_shapes))


def compare(
    model: nn.Module, tokens: Tensor, ways: tuple[Callable[[nn.Module, Tensor], Tensor], ...]
) -> None:
    """Print titles per second, ratio and largest difference of each way to the first."""
    seconds: dict[str, list[float]] = {way.__name__: [] for way in ways}
    vectors: dict[str, Tensor] = {}
    with torch.inference_mode():
        for _ in range(ROUNDS):
            for way in ways:
                started = time.perf_counter()
                vectors[way.__name__] = way(model, tokens)
                seconds[way.__name__].append(time.perf_counter() - started)
    first = ways[0].__name__
    for name, times in seconds.items():
        median = statistics.median(times)
        ratio = statistics.median(seconds[first]) / median
        apart = (vectors[name] - vectors[first]).abs().max()
        print(f"{name:<13}{len(tokens) / median:8.0f} titles/s {ratio:6.1f}x  differs by {apart:.1e}")


if __name__ == "__main__":
    main()
