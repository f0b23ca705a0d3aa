"""The server's settings, checked at the start (docs/from-express.md has the table), and the socket it listens at."""

import ipaddress
import os
import re
import socket
import tempfile
from urllib.parse import urlsplit

from pydantic import Field, SecretStr, field_validator

from pipelines.errors import SettingsError
from pipelines.system.environment import (
    LARGEST_MEMORY_MB,
    EnvironmentSettings,
    ExportFolder,
    Folder,
    Names,
    Seconds,
    default_export_dir,
)

LOOPBACK_HOSTS = ("localhost", "127.0.0.1", "[::1]")
_TOKEN = re.compile(r"[!-~]+")
_TOKEN_LENGTH = 16  # below that a token can be guessed
MAKE_ONE = '`python -c "import secrets; print(secrets.token_urlsafe(32))"`'
_BACKLOG = 1_024


class ServingSettings(EnvironmentSettings):
    """One server's settings."""

    page = "docs/from-express.md"

    export_dir: ExportFolder = Field(
        default_factory=default_export_dir, validate_default=True, description="Where snapshots live"
    )
    export_api_token: SecretStr | None = Field(
        None,
        description="Bearer token of 16 characters or more that every request but /health must show; required beyond"
        " loopback",
    )
    api_cors_origins: Names = Field((), description="Web origins that may read answers, separated by commas")
    api_hosts: Names = Field((), description="More names that requests may give as their Host, separated by commas")
    api_max_exports: int = Field(4, ge=1, le=64, description="Batches that are sent at a time")
    api_export_wait_seconds: Seconds = Field(10, ge=0, description="How long a batch waits for its turn, seconds")
    api_export_max_seconds: Seconds = Field(1800, gt=0, description="Longest time that one batch is sent, seconds")
    api_stall_seconds: Seconds = Field(
        60, gt=0, description="A reader that takes nothing for so long is cut off, seconds"
    )
    api_query_seconds: Seconds = Field(5, gt=0, description="Longest time of one query, seconds")
    api_memory_mb: int = Field(
        256,
        ge=64,
        le=LARGEST_MEMORY_MB,
        description="Memory of all queries, batches and answers on their way together, MB",
    )
    api_request_seconds: Seconds = Field(
        10, gt=0, description="A connection that brings no whole request for so long is closed, seconds"
    )
    api_client_connections: int = Field(
        256, ge=16, le=1000, description="Connections at a time from one address; a proxy is one"
    )
    api_cache_mb: int = Field(
        1024, ge=0, description="Disk for batches that are kept until the next snapshot, MB; 0 keeps none"
    )
    api_cache_dir: Folder | None = Field(
        None, description="Folder of that disk space; unset: the system's temporary folder"
    )

    @field_validator("export_api_token")
    @classmethod
    def _is_usable(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None and not _TOKEN.fullmatch(value.get_secret_value()):
            msg = "must be of printable ASCII characters without spaces"
            raise ValueError(msg)
        if value is not None and len(value.get_secret_value()) < _TOKEN_LENGTH:
            msg = f"must have at least {_TOKEN_LENGTH} characters; {MAKE_ONE} makes one"
            raise ValueError(msg)
        return value

    @field_validator("api_cors_origins")
    @classmethod
    def _are_origins(cls, value: tuple[str, ...]) -> tuple[str, ...]:
        for origin in value:
            parts = urlsplit(origin)
            if (
                parts.scheme not in {"http", "https"}
                or not parts.netloc
                or origin != f"{parts.scheme}://{parts.netloc}"
            ):
                msg = "must be origins such as https://app.example, without a path; * is not taken"
                raise ValueError(msg)
        return value


def require_cache_folder(settings: ServingSettings) -> None:
    """See that batches can be kept, where they are to be.

    Raises:
        SettingsError: The folder is missing or can't be written to.
    """
    if not settings.api_cache_mb:
        return
    try:
        tempfile.TemporaryFile(dir=settings.api_cache_dir).close()
    except OSError as error:
        raise SettingsError(
            "Batches can't be kept",
            expected="API_CACHE_DIR, or the system's temporary folder, to be a folder that can be written to",
            found=error.strerror or type(error).__name__,
            fix="set API_CACHE_DIR to such a folder, or API_CACHE_MB to 0",
        ) from None


def is_loopback(host: str) -> bool:
    """Whether an address can be reached from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def require_safe_address(host: str, settings: ServingSettings) -> None:
    """See that nobody else can read without a token.

    Raises:
        SettingsError: The address can be reached from other machines, and there is no token.
    """
    if settings.export_api_token is None and not is_loopback(host):
        raise SettingsError(
            "The server would be open to other machines without a token",
            expected="EXPORT_API_TOKEN set, or a loopback address such as 127.0.0.1",
            found=f"address {host}, no EXPORT_API_TOKEN",
            fix=f"set EXPORT_API_TOKEN, for instance to the output of {MAKE_ONE}, or leave --host out",
        )


def listen(host: str, port: int) -> socket.socket:
    """Listen at an address, before anything else of the server is there.

    Args:
        port: Port; 0: any free one.

    Raises:
        SettingsError: The address can't be used.
    """
    try:
        family, *_, address = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        listening = socket.socket(family, socket.SOCK_STREAM)
        try:
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            listening.bind(address)
            listening.listen(_BACKLOG)
        except BaseException:
            listening.close()
            raise
    except OSError as error:
        raise SettingsError(
            f"The server can't listen at {host}, port {port}",
            found=os.strerror(error.errno) if error.errno and error.errno > 0 else str(error),
            fix="stop what uses the port, or name another one with --port",
        ) from error
    return listening
