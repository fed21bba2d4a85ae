"""Logging of constant event names with fields: ``log.info("job.accepted", job=…, service=…)``.

Never log inputs, blobs, keys, tokens or embeddings.
"""

from __future__ import annotations

import logging
import sys
from typing import Any, Literal

import structlog

from shared.trace import told


def configure(level: str = "info", form: Literal["console", "json"] = "console") -> None:
    """Set up the process's logging once, in an entry point; the log goes to standard error."""
    renderer: Any = structlog.processors.JSONRenderer() if form == "json" else structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            told,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            renderer,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(logging.getLevelNamesMapping()[level.upper()]),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    logging.basicConfig(level=logging.WARNING, stream=sys.stderr, format="%(levelname)s %(name)s %(message)s")


def get_logger(name: str) -> Any:
    """The logger of a module."""
    return structlog.get_logger(module=name)
