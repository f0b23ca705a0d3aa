"""The settings of DESIGN 5: read from the environment, typed, checked at the door."""

import os
import re
import urllib.parse
from collections.abc import Mapping
from importlib.util import find_spec
from typing import Any, Literal

from pydantic import Field, SecretStr, ValidationInfo, field_validator

from pipelines.errors import SettingsError
from pipelines.system.environment import (
    LARGEST_MEMORY_MB,
    Days,
    EnvironmentSettings,
    ExportFolder,
    Folder,
    Hours,
    Minutes,
    Names,
    Seconds,
    data_folder,
    default_export_dir,
)

SMALLEST_SEGMENT = 100
LARGEST_SEGMENT = 1_000_000
# The job runs every day: a check of the source that is an hour late is worth an alarm.
STALE_AFTER_HOURS = 25.0
# Of object storage, and the modules of the extra `cloud` that reach it.
_STORES = ("s3", "gs", "az", "file")
_STORE_MODULES = ("deltalake", "obstore")
# A week: no request is worth more, and Delta's client takes no number with an exponent, as a million is written.
_MAX_RETRY_SECONDS = 604_800
_HOST = re.compile(r"([\w.-]+|\[[\da-fA-F:.]+\])(:\d{1,5})?", re.ASCII)
_HOST_AND_PORT = re.compile(r"([\w.-]+|\[[\da-fA-F:.]+\]):\d{1,5}", re.ASCII)


class Settings(EnvironmentSettings):
    """One run's settings."""

    page = "docs/settings.md"

    database_url: SecretStr | None = Field(None, description="PostgreSQL to export; unset: embedded with sample data")
    source_schema: str = Field("public", min_length=1, description="Schema of `domains` and `gleif_candidates`")
    export_dir: ExportFolder = Field(
        default_factory=default_export_dir, validate_default=True, description="Where snapshots and staging live"
    )
    embedded_dir: Folder = Field(
        default_factory=lambda: data_folder() / "postgres", description="Where the embedded PostgreSQL lives"
    )
    segment_size: int = Field(
        50_000, ge=SMALLEST_SEGMENT, le=LARGEST_SEGMENT, description="Most rows of `domains` in a segment"
    )
    read_connections: int = Field(
        default_factory=lambda: min(os.cpu_count() or 1, 8), ge=1, le=64, description="Parallel reads"
    )
    engine: Literal["local", "ray"] = Field(
        "local", description="What runs the tasks: this process, or a Ray cluster (extra ray)"
    )
    ray_address: str | None = Field(
        None, description="Host and port of the head of the Ray cluster; unset: one is started on this machine"
    )
    keep_snapshots: int = Field(5, ge=1, description="Newest snapshots that stay")
    keep_hours: Hours = Field(24, ge=0, description="Hours for which one snapshot an hour stays")
    keep_run_days: Days = Field(30, ge=1, description="Days for which Dagster's runs and their logs stay")
    sensor_pause_minutes: Minutes = Field(
        10, ge=0, description="Shortest time from the end of a run to the next one that the sensor asks for, minutes"
    )
    min_rows_pct: float = Field(50, ge=0, le=100, description="Smallest share of the last snapshot's rows; 0 is off")
    export_max_seconds: Seconds = Field(
        3600, gt=0, description="Longest time that the source's snapshot is held, seconds"
    )
    dagster_home: Folder = Field(
        default_factory=lambda: data_folder() / "dagster_home",
        description="Where Dagster keeps runs; created when missing",
    )
    database_memory_mb: int = Field(
        256,
        ge=64,
        le=LARGEST_MEMORY_MB,
        description="DuckDB's memory while exports.duckdb is written, MB; half as much more to compare it",
    )
    ui_hosts: Names = Field(
        (), description="Public names of the Dagster UI, as a browser gives them in Host, separated by commas"
    )
    include_full_data: bool = Field(False, description="Publish gleif_full_data")
    alert_webhook_url: SecretStr | None = Field(None, description="Where alerts are posted as JSON; unset: nowhere")
    stale_after_hours: Hours = Field(
        STALE_AFTER_HOURS, gt=0, description="Hours after the last successful look at the source that raise an alarm"
    )
    publish_url: str | None = Field(
        None, description="Where each snapshot is published in object storage too, such as s3://bucket/prefix"
    )
    publish_database: bool = Field(True, description="Publish exports.duckdb and report.html there as well")
    publish_keep_snapshots: int = Field(5, ge=1, description="Newest snapshots that stay there")
    publish_keep_hours: Hours = Field(
        24, ge=1, description="Hours for which a snapshot stays there after the next one was published"
    )
    publish_mb_per_s: float = Field(
        0, ge=0, allow_inf_nan=False, description="Most that is sent, megabytes a second; 0: no limit"
    )
    publish_retry_seconds: float = Field(
        60,
        ge=0,
        le=_MAX_RETRY_SECONDS,
        allow_inf_nan=False,
        description="How long a request to object storage that fails is tried again, seconds",
    )

    @field_validator("database_url")
    @classmethod
    def _is_postgres_url(cls, value: SecretStr | None) -> SecretStr | None:
        if value is None:
            return None
        # A file that holds a URL ends with a line break; libpq would take it as part of the database's name.
        value = SecretStr(value.get_secret_value().strip())
        if not value.get_secret_value().startswith(("postgresql://", "postgres://")):
            raise ValueError("must begin with postgresql:// or postgres://")
        return value

    @field_validator("engine")
    @classmethod
    def _is_installed(cls, value: str) -> str:
        if value == "ray" and find_spec("ray") is None:
            raise ValueError('needs the module ray, which is not installed: pip install "lei-exports[ray]"')
        return value

    @field_validator("ray_address")
    @classmethod
    def _is_head(cls, value: str | None, info: ValidationInfo) -> str | None:
        # Ray's own tools read this variable too, and take other forms: it is ours only where ENGINE=ray.
        if value is None or info.data.get("engine") != "ray":
            return None
        if not _HOST_AND_PORT.fullmatch(value.strip()):
            raise ValueError("must be the host and port of the cluster's head, such as 10.0.0.5:6379")
        return value.strip()

    @field_validator("alert_webhook_url")
    @classmethod
    def _is_web_url(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not value.get_secret_value().startswith(("https://", "http://")):
            raise ValueError("must begin with https:// or http://")
        return value

    @field_validator("publish_url")
    @classmethod
    def _is_store_url(cls, value: str | None) -> str | None:
        return None if value is None else require_store_url(value)

    @field_validator("ui_hosts")
    @classmethod
    def _are_hosts(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        if not all(_HOST.fullmatch(name) for name in value):
            raise ValueError(
                "must be names such as exports.example, with :port where it is not 80 or 443; no scheme, path or *"
            )
        return value


def require_store_url(url: str) -> str:
    """A prefix in object storage, without a slash at its end.

    Args:
        url: As a person wrote it. It may not hold credentials: those are variables of the store, and it is shown.

    Raises:
        ValueError: It can't be used, or what reads it is not installed; the message does not hold the URL.
    """
    try:
        parts = urllib.parse.urlsplit(url.strip())
        is_plain = set("@:").isdisjoint(parts.netloc) and not (parts.query or parts.fragment)
    except ValueError:
        parts, is_plain = urllib.parse.urlsplit(""), False
    if parts.scheme not in _STORES or not is_plain or not (parts.netloc or parts.scheme == "file"):
        raise ValueError(
            "must be a prefix such as s3://bucket/prefix, with one of the schemes "
            f"{', '.join(_STORES)}, without credentials, a port, ? or #"
        )
    if parts.scheme == "file" and (parts.netloc or not parts.path.strip("/")):
        raise ValueError("must name an absolute folder, as in file:///srv/exports")
    missing = [name for name in _STORE_MODULES if find_spec(name) is None]
    if missing:
        raise ValueError(f"needs the module {missing[0]}, which is not installed: install lei-exports[cloud]")
    return parts.geturl().rstrip("/")


def require_store(url: str) -> str:
    """As `require_store_url`, for a URL that is no setting.

    Raises:
        SettingsError: It can't be used, or the extra `cloud` is not installed.
    """
    try:
        return require_store_url(url)
    except ValueError as error:
        raise SettingsError(
            "The URL of object storage can't be used", found=str(error), fix="correct it (docs/object-storage.md)"
        ) from None


def load_settings(overrides: Mapping[str, Any] | None = None) -> Settings:
    """Read the settings from the environment; the values of `overrides`, by field, win over it.

    Raises:
        SettingsError: A value can't be used; the message names every such setting, never its value.
    """
    return Settings.load(overrides)
