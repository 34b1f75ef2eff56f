"""Curves as SVG, drawn by matplotlib, for pages that need no network."""

import base64
import io
from collections.abc import Mapping, Sequence

Curve = Sequence[tuple[float, float]]


def curves(panels: Mapping[str, Mapping[str, Curve]], x: str) -> str:
    """Panels side by side, each with its curves by name, over a common axis `x`: a data: address."""
    from matplotlib.backends.backend_svg import FigureCanvasSVG
    from matplotlib.figure import Figure

    figure = Figure(figsize=(4.2 * len(panels), 2.8), layout="constrained")
    FigureCanvasSVG(figure)
    for place, (title, lines) in enumerate(panels.items(), 1):
        axes = figure.add_subplot(1, len(panels), place)
        for name, points in lines.items():
            axes.plot(*zip(*points, strict=True), label=name, linewidth=1.4)
        axes.set_title(title, fontsize=10)
        axes.set_xlabel(x, fontsize=9)
        axes.tick_params(labelsize=8)
        axes.grid(alpha=0.25)
        if len(lines) > 1:
            axes.legend(fontsize=8, frameon=False)
    out = io.BytesIO()
    figure.savefig(out, format="svg", metadata={"Date": None})
    return f"data:image/svg+xml;base64,{base64.b64encode(out.getvalue()).decode()}"
