"""Numbers of the gateway for Prometheus, with those of the Triton server that answers now after them.

Triton's addresses change with each reload; this page is one address that stays.
"""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from mmprod.serving.gateway.backend import Source
from mmprod.serving.gateway.requestlog import Record

_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)


class Metrics:
    """Counts of requests, and what the supervisor counts; `model` is "" where a request names none."""

    def __init__(self, source: Source) -> None:
        """Each has a registry of its own, so that tests may make many."""
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "mmprod_gateway_requests",
            "By model and HTTP status",
            ("model", "status"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "mmprod_gateway_seconds",
            "From a request's headers to its answer",
            ("model",),
            registry=self._registry,
            buckets=_SECONDS,
        )
        sizes = Counter(
            "mmprod_gateway_body_bytes", "In bodies, in and out", ("direction",), registry=self._registry
        )
        self._in, self._out = sizes.labels("in"), sizes.labels("out")
        self.in_flight = Gauge("mmprod_gateway_in_flight", "Being answered now", registry=self._registry)
        self._registry.register(_Supervised(source))
        ProcessCollector(registry=self._registry)

    def count(self, record: Record) -> None:
        """Count a request that was answered."""
        self._requests.labels(record.model, str(record.status)).inc()
        self._seconds.labels(record.model).observe(record.seconds)
        self._in.inc(record.bytes_in)
        self._out.inc(record.bytes_out)

    def page(self) -> bytes:
        """All of it, in Prometheus' text format."""
        return generate_latest(self._registry)


class _Supervised(Collector):
    """What the supervisor knows, read when it is asked for."""

    def __init__(self, source: Source) -> None:
        self._source = source

    def collect(self) -> Iterable[Metric]:
        counts, current = self._source.counts, self._source.current
        yield CounterMetricFamily(
            "mmprod_gateway_restarts", "Servers started in place of one that failed", counts["restarts"]
        )
        yield CounterMetricFamily(
            "mmprod_gateway_probe_failures", "Wrong answers to known questions", counts["probe_failures"]
        )
        reloads = CounterMetricFamily("mmprod_gateway_reloads", "By outcome", labels=("outcome",))
        for outcome in ("switched", "refused"):
            reloads.add_metric((outcome,), counts[f"reloads_{outcome}"])
        yield reloads
        yield GaugeMetricFamily("mmprod_gateway_ready", "Whether it answers rightly", self._source.ready)
        release = GaugeMetricFamily("mmprod_gateway_release_info", "What is served", labels=("release",))
        if current is not None:
            release.add_metric((current.release,), 1)
        yield release
