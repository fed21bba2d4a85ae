"""Where the time of one job went, as OpenTelemetry spans: from the HTTP request through the broker to the run of a network.

An optional extra (``sensorium[tracing]``), off unless ``SENSORIUM_TRACES`` names a collector; then nothing here costs more than a look at
a variable. Attributes are names, sizes and identifiers of jobs, never inputs. A collector that is away or slow loses spans, not requests:
they wait in a bounded queue of a thread.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

from shared.settings import Settings, SettingsError

Value = str | int | float | bool
_PARENT = "traceparent"  # W3C Trace Context
_EXPORT_SECONDS = 5
_OFF: AbstractContextManager[Any] = nullcontext()


class _Tracer:
    """What the library needs, looked up once."""

    def __init__(self, settings: Settings, process: str) -> None:
        try:
            from opentelemetry import trace
            from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
            from opentelemetry.sdk.resources import Resource
            from opentelemetry.sdk.trace import TracerProvider
            from opentelemetry.sdk.trace.export import BatchSpanProcessor
            from opentelemetry.sdk.trace.sampling import ParentBased, TraceIdRatioBased
            from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator
        except ModuleNotFoundError as error:
            raise SettingsError(f"SENSORIUM_TRACES needs {error.name}; install it with: pip install 'sensorium[tracing]'") from None
        resource = Resource.create({"service.name": f"sensorium-{process}", "service.namespace": settings.namespace})
        self.provider = TracerProvider(resource=resource, sampler=ParentBased(TraceIdRatioBased(settings.trace_share)))
        exporter = OTLPSpanExporter(endpoint=f"{str(settings.traces).rstrip('/')}/v1/traces", timeout=_EXPORT_SECONDS)
        self.provider.add_span_processor(BatchSpanProcessor(exporter, export_timeout_millis=1000 * _EXPORT_SECONDS))
        self.tracer = self.provider.get_tracer("sensorium")
        self.api = trace
        self.propagator = TraceContextTextMapPropagator()

    def context_of(self, parent: str | None) -> Any:
        return None if parent is None else self.propagator.extract({_PARENT: parent})

    def links(self, others: Sequence[str]) -> list[Any]:
        contexts = (self.api.get_current_span(self.context_of(other)).get_span_context() for other in others)
        return [self.api.Link(context) for context in contexts if context.is_valid]


_tracer: _Tracer | None = None


@contextmanager
def tracing(settings: Settings, process: str) -> Iterator[None]:
    """Spans of this process go to the collector of the settings while the block lasts; the last ones are sent at its end.

    Raises `SettingsError` when the extra is not installed.
    """
    global _tracer  # noqa: PLW0603 - as the log's, the one place that spans of a process go to
    if settings.traces is None:
        yield
        return
    _tracer = _Tracer(settings, process)
    try:
        yield
    finally:
        ended, _tracer = _tracer, None
        ended.provider.shutdown()


def span(name: str, parent: str | None = None, others: Sequence[str] = (), **attributes: Value) -> AbstractContextManager[Any]:
    """A block of work. ``parent``: a ``traceparent`` from elsewhere, by default the block around; ``others``: further ones it serves."""
    if _tracer is None:
        return _OFF
    started: AbstractContextManager[Any] = _tracer.tracer.start_as_current_span(
        name, context=_tracer.context_of(parent), attributes=attributes, links=_tracer.links(others)
    )
    return started


def record(name: str, begin: float, end: float, parent: str | None, **attributes: Value) -> None:
    """What happened between two moments, seconds since 1970, without a block around it: waiting, for instance."""
    if _tracer is not None and parent is not None:
        made = _tracer.tracer.start_span(name, context=_tracer.context_of(parent), attributes=attributes, start_time=_nanoseconds(begin))
        made.end(_nanoseconds(max(begin, end)))


def current() -> str | None:
    """The ``traceparent`` of the block around, to be sent along; None when there is none or nothing is traced."""
    if _tracer is None:
        return None
    carrier: dict[str, str] = {}
    _tracer.propagator.inject(carrier)
    return carrier.get(_PARENT)


def told(_logger: object, _method: str, event: Mapping[str, Any]) -> Mapping[str, Any]:
    """Of a log's event: the trace that it belongs to, for whoever reads both."""
    if _tracer is None:
        return event
    context = _tracer.api.get_current_span().get_span_context()
    return {**event, "trace": f"{context.trace_id:032x}"} if context.is_valid else event


def _nanoseconds(seconds: float) -> int:
    return int(seconds * 1e9)
