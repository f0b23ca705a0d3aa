"""Settings from the environment: how a class of them is read, and the folder of what has no place by a setting."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Self

from pydantic import AfterValidator, BeforeValidator, Field, ValidationError
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from pipelines.errors import SettingsError

# Beside this package in a checkout, and never both in a site-packages.
_CHECKOUT_FILES = ("pyproject.toml", "workspace.yaml")
_OWN_FOLDER = "lei-exports"
# Of every setting of memory, MB: 8 TB. DuckDB takes no number of 20 digits.
LARGEST_MEMORY_MB = 8_000_000


def _split(value: object) -> object:
    return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value


Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(_split)]
"""Names separated by commas."""


def _with_target(folder: Path) -> str:
    """A path, and where it leads if it is a link, which readers follow."""
    return f"{folder} {os.path.realpath(folder)}"


def _absolute(value: Path) -> Path:
    try:
        folder = value.expanduser().absolute()
    except RuntimeError:
        msg = "begins with ~ where that names no home folder: write the path from /"
        raise ValueError(msg) from None
    text = _with_target(folder)
    try:
        is_utf8 = text.encode() == os.fsencode(text)
    except UnicodeEncodeError:
        is_utf8 = False
    if not is_utf8:  # the libraries take paths in UTF-8, whatever the locale is
        msg = "must be a path in UTF-8; where it is one, the locale has another encoding: set LC_ALL=C.UTF-8"
        raise ValueError(msg)
    return folder


def _plain(folder: Path) -> Path:
    # DuckDB 2.0 takes `?` for the query of a URL, and `\` for the end of a folder's name where it makes a database.
    if not set(_with_target(folder)).isdisjoint("?\\"):
        msg = "must be a path without ? and \\ (also where a link leads): DuckDB makes another path of it"
        raise ValueError(msg)
    return folder


Folder = Annotated[Path, AfterValidator(_absolute)]
"""A path in UTF-8, made absolute; `~` is the home folder."""
ExportFolder = Annotated[Folder, AfterValidator(_plain)]
"""Such a path that DuckDB can read and write below."""

# A century: what is added to a time, or given to a timer, has an end.
_MAX_DAYS = 36_500
Days = Annotated[float, Field(le=_MAX_DAYS, allow_inf_nan=False)]
Hours = Annotated[float, Field(le=_MAX_DAYS * 24, allow_inf_nan=False)]
Minutes = Annotated[float, Field(le=_MAX_DAYS * 24 * 60, allow_inf_nan=False)]
Seconds = Annotated[float, Field(le=_MAX_DAYS * 24 * 3_600, allow_inf_nan=False)]


class EnvironmentSettings(BaseSettings):
    """Field names in upper case are the names of the environment variables. A blank variable counts as unset.

    Attributes:
        page: The document that lists them.
    """

    model_config = SettingsConfigDict(frozen=True, hide_input_in_errors=True, extra="ignore", env_ignore_empty=True)
    page: ClassVar[str]

    @classmethod
    def load(cls, overrides: Mapping[str, Any] | None = None) -> Self:
        """Read the settings.

        Args:
            overrides: Field values that win over the environment.

        Raises:
            SettingsError: A value can't be used; the message names every such setting, never its value.
        """
        try:
            return cls(**(overrides or {}))
        except ValidationError as error:
            problems = "; ".join(f"{'.'.join(map(str, e['loc'])).upper()}: {e['msg']}" for e in error.errors())
            raise SettingsError(
                "Settings can't be used", found=problems, fix=f"correct the environment variable ({cls.page})"
            ) from None


_CODE = Path(__file__).resolve().parents[2]


def data_folder() -> Path:
    """`data/` of the checkout that the code runs from; installed from a wheel, the user's data folder.

    That one is `$XDG_DATA_HOME/lei-exports`, where XDG_DATA_HOME is unset `~/.local/share/lei-exports` (XDG Base
    Directory Specification 0.8, which says to ignore a value that is no absolute path). It is not made here.

    Raises:
        SettingsError: The user has no home folder.
    """
    if _is_checkout():
        return _CODE / "data"
    given = os.environ.get("XDG_DATA_HOME", "")
    if Path(given).is_absolute():
        return Path(given) / _OWN_FOLDER
    try:
        return Path.home() / ".local" / "share" / _OWN_FOLDER
    except RuntimeError:
        raise SettingsError(
            "There is no folder for data",
            expected="a home folder for this user, or EXPORT_DIR, EMBEDDED_DIR and DAGSTER_HOME set",
            found="no HOME, and no home folder in the list of accounts",
            fix="set EXPORT_DIR, EMBEDDED_DIR and DAGSTER_HOME",
        ) from None


def _is_checkout() -> bool:
    try:
        return all((_CODE / name).is_file() for name in _CHECKOUT_FILES)
    except OSError:  # code that this user may not list is no checkout of theirs
        return False


def default_export_dir() -> Path:
    """EXPORT_DIR where it is unset.

    Raises:
        SettingsError: As data_folder.
    """
    return data_folder() / "exports"
