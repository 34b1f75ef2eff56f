"""The gateway's metrics for Prometheus."""

from collections.abc import Iterable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from mmprod.serving.gateway.backend import BackendSource
from mmprod.serving.gateway.request_log import Record

_SECONDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)


class Metrics:
    """Metrics of requests and of the supervisor; `model` is "" for requests without a model."""

    def __init__(self, source: BackendSource) -> None:
        """Each instance has its own registry, so that tests can create several."""
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "mmprod_gateway_requests",
            "Requests by model and HTTP status",
            ("model", "status"),
            registry=self._registry,
        )
        self._seconds = Histogram(
            "mmprod_gateway_seconds",
            "From a request's headers to its answer, seconds",
            ("model",),
            registry=self._registry,
            buckets=_SECONDS,
        )
        sizes = Counter(
            "mmprod_gateway_body_bytes",
            "Bytes of bodies, in and out",
            ("direction",),
            registry=self._registry,
        )
        self._in, self._out = sizes.labels("in"), sizes.labels("out")
        self.in_flight = Gauge("mmprod_gateway_in_flight", "Requests in flight", registry=self._registry)
        self._registry.register(_Supervised(source))
        ProcessCollector(registry=self._registry)

    def count(self, record: Record) -> None:
        """Count a finished request."""
        self._requests.labels(record.model, str(record.status)).inc()
        self._seconds.labels(record.model).observe(record.seconds)
        self._in.inc(record.bytes_in)
        self._out.inc(record.bytes_out)

    def page(self) -> bytes:
        """All metrics in Prometheus' text format."""
        return generate_latest(self._registry)


class _Supervised(Collector):
    """Metrics of the supervisor, read at each scrape."""

    def __init__(self, source: BackendSource) -> None:
        self._source = source

    def collect(self) -> Iterable[Metric]:
        counts, current = self._source.counts, self._source.current
        yield CounterMetricFamily(
            "mmprod_gateway_restarts", "Servers started to replace a failed one", counts["restarts"]
        )
        yield CounterMetricFamily("mmprod_gateway_probe_failures", "Failed probes", counts["probe_failures"])
        reloads = CounterMetricFamily("mmprod_gateway_reloads", "Reloads by outcome", labels=("outcome",))
        for outcome in ("switched", "refused"):
            reloads.add_metric((outcome,), counts[f"reloads_{outcome}"])
        yield reloads
        yield GaugeMetricFamily(
            "mmprod_gateway_ready", "1 if the last probe was answered correctly, else 0", self._source.ready
        )
        release = GaugeMetricFamily(
            "mmprod_gateway_release_info", "The release that is served", labels=("release",)
        )
        if current is not None:
            release.add_metric((current.release,), 1)
        yield release
