"""What the server counts, as Prometheus reads it. One registry a server, nothing global."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

from embedloom.serve.batcher import Batcher, Pass

if TYPE_CHECKING:
    from embedloom.records import Embedder
    from embedloom.serve.engine import Row

SECONDS = (0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 30, 60)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
TOKENS = (16, 64, 256, 1024, 4096, 16384, 65536)


class Metrics:
    """Counters, gauges and histograms of one server."""

    def __init__(self) -> None:
        registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._registry = registry
        self.requests = Counter("embedloom_requests", "Requests answered.", ["endpoint", "status"], registry=registry)
        self.seconds = Histogram(
            "embedloom_request_seconds", "Time from a request's head to its answer.", ["endpoint"],
            buckets=SECONDS, registry=registry,
        )  # fmt: skip
        self.texts = Counter("embedloom_texts", "Texts encoded for requests.", ["endpoint"], registry=registry)
        self.tokens = Counter("embedloom_tokens", "Tokens encoded for requests.", ["endpoint"], registry=registry)
        self.cut = Counter("embedloom_truncated_texts", "Texts longer than the model reads.", registry=registry)
        self.open = Gauge("embedloom_open_requests", "Requests that are being answered.", registry=registry)
        self._waiting = Gauge("embedloom_queue_texts", "Texts that wait for the model.", registry=registry)
        self._tickets = Gauge("embedloom_queue_requests", "Requests with texts that wait.", registry=registry)
        self._rows = Histogram("embedloom_batch_texts", "Texts of a pass.", buckets=ROWS, registry=registry)
        self._read = Histogram("embedloom_batch_tokens", "Tokens of a pass.", buckets=TOKENS, registry=registry)
        self._passes = Histogram("embedloom_batch_seconds", "Time of a pass.", buckets=SECONDS, registry=registry)
        self._model = Gauge("embedloom_model_info", "The model served.", ["model", "fingerprint"], registry=registry)

    def observe(self, done: Pass) -> None:
        """Counts a pass of the model."""
        self._rows.observe(done.rows)
        self._read.observe(done.tokens)
        self._passes.observe(done.seconds)

    def watch(self, batcher: Batcher[Row], embedder: Embedder, name: str) -> None:
        """Reads the queue whenever somebody asks."""
        self._waiting.set_function(lambda: batcher.waiting_rows)
        self._tickets.set_function(lambda: batcher.waiting_requests)
        self._model.labels(name, embedder.fingerprint).set(1)

    def text(self) -> bytes:
        """The exposition format."""
        return generate_latest(self._registry)
