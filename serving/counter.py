"""Counters of the models, published with Triton's metrics. Importable in Triton's Python backend only."""

from typing import Any

import triton_python_backend_utils as pb_utils


class Counter:
    """A counter of /metrics with one series per set of labels; a series exists from its first addition on."""

    def __init__(self, name: str, help_: str) -> None:
        """All models and instances that name the same counter add to the same series."""
        self._family = pb_utils.MetricFamily(name=name, description=help_, kind=pb_utils.MetricFamily.COUNTER)
        self._series: dict[tuple[tuple[str, str], ...], Any] = {}

    def add(self, count: int, **labels: str) -> None:
        """Add a number to the series of these labels."""
        key = tuple(labels.items())
        if key not in self._series:
            self._series[key] = self._family.Metric(labels=labels)
        self._series[key].increment(count)
