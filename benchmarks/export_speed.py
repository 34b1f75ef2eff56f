"""Exported towers against torch eager: a ViT with random weights, on real titles, on one thread.

    taskset -c 1 python benchmarks/export_speed.py [--model ViT-B-16] [--table DIR/products.parquet]

Speed does not depend on the weights. The ways take turns; CPU seconds, medians of the rounds. First the best
matrix product of this core is measured in fp32 and bf16; each way's share of it is given, by the tower's
operations. Text goes through as it comes, padded to 77 (torch's usual way), trimmed to each batch's longest,
or sorted by length as well.
"""

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import open_clip
import pyarrow.parquet as pq
import torch
from torch.utils.flop_counter import FlopCounterMode

from mmprod.encoders.clip import wrap
from mmprod.encoders.export.build import build
from mmprod.encoders.export.engine import Engine, load_engine
from mmprod.encoders.export.modules import ImageTower
from mmprod.encoders.export.spec import Kind, Precision
from mmprod.encoders.towers import encode_text, lengths

ROUNDS, PICTURES, BATCH, SQUARE = 3, 32, 64, 2048
TABLE = Path(__file__).parents[2] / "shared" / "data" / "fashion" / "products.parquet"
FORMS: tuple[tuple[Kind, Precision], ...] = (("onnx", "fp32"), ("openvino", "fp32"), ("openvino", "bf16"))
Way = Callable[[], np.ndarray]


def text_ways(model: torch.nn.Module, tokens: torch.Tensor, engines: dict[str, Engine]) -> dict[str, Way]:
    """All titles through the text tower, in ways that give the same rows."""
    order = lengths(model, tokens).argsort(stable=True)
    back, ordered = order.argsort().numpy(), tokens[order].numpy()

    def eager(batch: np.ndarray) -> np.ndarray:
        return encode_text(model, torch.from_numpy(batch), normalize=True).numpy()

    def trimmed(batch: np.ndarray) -> np.ndarray:
        return eager(batch[:, : int(lengths(model, torch.from_numpy(batch)).max())])

    ways: dict[str, Way] = {
        "torch eager, padded to 77": lambda: _batched(eager, tokens.numpy()),
        "torch eager, trimmed and sorted": lambda: _batched(trimmed, ordered)[back],
    }
    for name, engine in engines.items():
        ways[f"{name}, padded to 77"] = lambda e=engine: _batched(e.titles, tokens.numpy())  # type: ignore[misc]
        ways[f"{name}, trimmed and sorted"] = lambda e=engine: _batched(e.trimmed_titles, ordered)[back]  # type: ignore[misc]
    return ways


def image_ways(model: torch.nn.Module, engines: dict[str, Engine]) -> dict[str, Way]:
    """A batch of pictures through the image tower."""
    pictures = np.random.default_rng(0).integers(0, 256, (PICTURES, 3, 224, 224), dtype=np.uint8)
    tower = ImageTower(model)
    ways: dict[str, Way] = {"torch eager": lambda: tower(torch.from_numpy(pictures)).numpy()}
    return ways | {name: lambda e=engine: e.pictures(pictures) for name, engine in engines.items()}  # type: ignore[misc]


def peaks() -> dict[str, float]:
    """Operations a second of the best matrix product, by precision."""
    found = {}
    for name, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        left, right = (torch.rand(SQUARE, SQUARE).to(dtype) for _ in range(2))
        left @ right
        seconds = []
        for _ in range(ROUNDS * 3):
            start = time.process_time()
            left @ right
            seconds.append(time.process_time() - start)
        found[name] = 2 * SQUARE**3 / min(seconds)
    return found


def operations(run: Callable[[], object]) -> int:
    """Floating-point operations of a way in torch, by its shapes."""
    torch.backends.mha.set_fastpath_enabled(False)  # one operation, of which the counter knows nothing
    with FlopCounterMode(display=False) as counter:
        run()
    torch.backends.mha.set_fastpath_enabled(True)
    return int(counter.get_total_flops())


def compare(title: str, ways: dict[str, Way], items: int, needed: float, best: dict[str, float]) -> None:
    """Print each way's median over the rounds, its ratio to the first, its share of the best product (of its
    precision, by the `needed` operations an item), and its worst cosine to the first."""
    true = next(iter(ways.values()))()
    worst = {name: float((way() * true).sum(axis=1).min()) for name, way in ways.items()}  # also warms up
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            start = time.process_time()
            way()
            seconds[name].append(time.process_time() - start)
    first = statistics.median(next(iter(seconds.values())))
    print(f"\n| {title} | per second | against the first | of the best product | worst cosine |")
    print("|---|---|---|---|---|")
    for name, taken in seconds.items():
        median = statistics.median(taken)
        share = items / median * needed / best["bf16" if "bf16" in name else "fp32"]
        figures = f"{items / median:,.1f} | {first / median:.2f}x | {share:.0%} | {worst[name]:.6f}"
        print(f"| {name} | {figures} |", flush=True)


def _batched(run: Callable[[np.ndarray], np.ndarray], rows: np.ndarray) -> np.ndarray:
    return np.concatenate([run(rows[start : start + BATCH]) for start in range(0, len(rows), BATCH)])


@torch.inference_mode()
def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--table", type=Path, default=TABLE)
    parser.add_argument("--titles", type=int, default=256)
    parser.add_argument("--model", default="ViT-B-32")
    given = parser.parse_args()
    if not given.table.is_file():
        raise SystemExit(f"no table {given.table}: name one with a title column by --table")
    titles = pq.read_table(given.table, columns=["title"])["title"].to_pylist()
    some = titles[:: max(1, len(titles) // given.titles)][: given.titles]
    torch.set_num_threads(1)
    torch.manual_seed(0)
    model, tokenizer = open_clip.create_model(given.model).eval(), open_clip.get_tokenizer(given.model)
    encoder, tokens = wrap(model, tokenizer), tokenizer(some)
    needed = lengths(model, tokens)
    print(
        f"{len(some)} titles of {needed.float().mean():.1f} tokens (at most {needed.max()}), {BATCH} at once"
    )
    with tempfile.TemporaryDirectory() as folder, torch.inference_mode(False):
        engines = {}
        for kind, precision in FORMS:
            path = Path(folder) / f"{kind}-{precision}"
            path.mkdir()
            build(encoder, kind, precision, ("image", "text"), path)
            engines[f"{kind} {precision}"] = load_engine(path, threads=1)
    best = peaks()
    print(", ".join(f"best product in {name}: {rate / 1e9:,.0f} GFLOP/s" for name, rate in best.items()))
    image, text = image_ways(model, engines), text_ways(model, tokens, engines)
    compare("image tower", image, PICTURES, operations(image["torch eager"]) / PICTURES, best)
    exact = operations(
        lambda: [encode_text(model, row[None, : int(n)]) for row, n in zip(tokens, needed, strict=True)]
    )
    compare("text tower", text, len(some), exact / len(some), best)


if __name__ == "__main__":
    main()
