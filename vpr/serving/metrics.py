"""Metrics of the service in the text format of Prometheus."""

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

SECONDS = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
OUTCOMES = {408: "slow", 413: "too_large", 500: "failed", 503: "busy", 504: "timeout"}
LOCATED, NOT_ON_MAP, MALFORMED = "located", "not_on_map", "malformed"


class Metrics:
    """Counters and gauges of one service."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.requests = Counter(
            "vpr_requests", "requests to locate a photo, by outcome", ["outcome"], registry=self.registry
        )
        self.seconds = Histogram(
            "vpr_request_seconds", "seconds from request to answer", buckets=SECONDS, registry=self.registry
        )
        self.photos = Gauge("vpr_map_photos", "photos of the map", registry=self.registry)
        self.change = Gauge("vpr_map_change", "number of changes of the served map", registry=self.registry)
        self.stale = Gauge("vpr_map_stale", "1 if the newest state of the map cannot be opened", registry=self.registry)
        self.active = Gauge("vpr_requests_in_work", "requests in progress or queued", registry=self.registry)
        self.decoders = Gauge("vpr_decoders", "processes that decode photos", registry=self.registry)
        ProcessCollector(registry=self.registry)
        for outcome in (LOCATED, NOT_ON_MAP, MALFORMED, *OUTCOMES.values()):
            self.requests.labels(outcome)

    def count(self, outcome: str, seconds: float) -> None:
        """Count a finished request."""
        self.requests.labels(outcome).inc()
        self.seconds.observe(seconds)

    def text(self) -> bytes:
        """All metrics as text."""
        return generate_latest(self.registry)
