"""Settings that every service shares. Each has one home, a type, a default and a line in ``.env.example``.

They come from the environment with the prefix ``HEATERS_`` and from a ``.env`` file; ``HEATERS_<NAME>_FILE``
names a file to read a secret from. Addresses alone decide whether a service meets the embedded stack or other servers.
"""

from __future__ import annotations

import os
import tempfile
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import BeforeValidator, Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict

PREFIX = "HEATERS_"


def _to_seconds(value: Any) -> Any:
    try:
        return float(value) if isinstance(value, str) else value
    except ValueError:
        return value


Seconds = Annotated[timedelta, BeforeValidator(_to_seconds)]
"""A span of time, spelt in seconds (``1.5``) or by ISO 8601 (``PT1.5S``)."""


class ChassisSettings(BaseSettings):
    """What the chassis needs to know. A stage's ``Settings`` adds fields named after the stage."""

    model_config = SettingsConfigDict(env_prefix=PREFIX, env_file=".env", extra="ignore", frozen=True)

    kafka_bootstrap: str = Field("127.0.0.1:9092", description="Kafka bootstrap servers, host:port[,host:port…].")
    kafka_group: str = Field("heaters", description="Prefix of the consumer groups; one for each set of databases.")
    kafka_fetch_wait_ms: int = Field(
        500,
        ge=1,
        le=30_000,
        description="How long the broker may hold an empty fetch; the embedded one always waits it out.",
    )
    kafka_doze: Seconds = Field(
        timedelta(0),
        description="How long a consumer without messages may rest between fetches, if no service says that it published; "
        "0 never rests. For brokers that cannot hold a fetch until data arrives.",
    )
    kafka_session_timeout_ms: int = Field(45_000, ge=1_000, description="When a silent consumer counts as gone.")
    database_url: SecretStr = Field(
        SecretStr("postgresql://heaters@127.0.0.1:5432/heaters"), description="PostgreSQL address (libpq URL)."
    )
    database_pool: int = Field(
        6, ge=1, le=50, description="Database connections a service may hold for its transactions."
    )
    migrate_on_start: bool = Field(
        True, description="Whether a service brings its own schema up to date before it starts."
    )

    s3_endpoint: str = Field("http://127.0.0.1:9000", description="Address of the S3 server.")
    s3_public_endpoint: str = Field("", description="Address under which browsers reach it, when that differs.")
    s3_region: str = Field("us-east-1", description="Region named in signatures.")
    s3_bucket: str = Field("heaters", description="The one bucket.")
    s3_access_key: SecretStr = Field(SecretStr("heaters"), description="Access key id.")
    s3_secret_key: SecretStr = Field(SecretStr("heaters-secret"), description="Secret access key.")
    s3_storage_classes: dict[str, str] = Field(
        {},
        description="Storage classes by pattern of the key; JSON, the first that fits counts. Example: "
        '{"videos/*/source/*": "STANDARD_IA", "videos/*/master/*": "GLACIER_IR"}. Empty: the store\'s own.',
    )
    media_url_lifetime: Seconds = Field(timedelta(hours=1), description="How long a signed media address is valid.")

    http_host: str = Field("127.0.0.1", description="Address the service's own HTTP port binds to.")
    http_token: SecretStr = Field(
        SecretStr(""), description="Bearer token that the HTTP API asks for; needed on any address but loopback."
    )
    http_port: int = Field(0, ge=0, le=65_535, description="That port; 0 takes a free one.")

    temp_dir: Path = Field(
        Path(tempfile.gettempdir()) / "heaters", description="Scratch space of running work; emptied at start-up."
    )
    min_free_bytes: int = Field(
        1_000_000_000, ge=0, description="Work waits while the scratch disk has less free space."
    )
    profile_folder: Path | None = Field(
        None, description="Folder of export profiles of your own: .toml and .json files, beside those that are kept."
    )
    worker_concurrency: int = Field(1, ge=0, le=256, description="Pieces of work a service runs at once; 0 runs none.")
    worker_lease: Seconds = Field(timedelta(seconds=20), description="How long work stays claimed without renewal.")
    worker_retry_base: Seconds = Field(timedelta(seconds=2), description="First wait before another try; it doubles.")
    worker_retry_cap: Seconds = Field(timedelta(minutes=10), description="Longest wait before another try.")
    poll_interval: Seconds = Field(
        timedelta(seconds=5), description="How often loops look by themselves, should a notification be lost."
    )
    generation_interval: Seconds = Field(
        timedelta(seconds=2), description="How often a service checks that the broker has kept its log."
    )

    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="Least severe level logged.")
    log_format: Literal["json", "text"] = Field("json", description="One JSON object a line, or plain text.")
    otlp_endpoint: str = Field("", description="OTLP/HTTP collector to send spans to as well; empty sends none.")


SettingsT = TypeVar("SettingsT", bound=ChassisSettings)


def load(kind: type[SettingsT], **overrides: Any) -> SettingsT:
    """Settings from the environment, with secrets read from the files that ``HEATERS_<NAME>_FILE`` names."""
    for name, field in kind.model_fields.items():
        path = os.environ.get(f"{PREFIX}{name.upper()}_FILE")
        if path and field.annotation is SecretStr and name not in overrides:
            overrides[name] = SecretStr(Path(path).read_text().strip())
    return kind(**overrides)


def as_environment(settings: ChassisSettings) -> dict[str, str]:
    """The settings as environment variables, for a child process that must see the same ones."""
    environment = {}
    for name in type(settings).model_fields:
        value = getattr(settings, name)
        if isinstance(value, SecretStr):
            text = value.get_secret_value()
        elif isinstance(value, timedelta):
            text = f"PT{value.total_seconds()}S"
        elif isinstance(value, bool):
            text = "true" if value else "false"
        elif isinstance(value, tuple | list | dict):
            import json

            text = json.dumps(value, default=str)
        elif value is None:
            continue
        else:
            text = str(value)
        environment[f"{PREFIX}{name.upper()}"] = text
    return environment
