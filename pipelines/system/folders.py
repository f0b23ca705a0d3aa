"""Where data lies that no setting gives a place: one folder, whatever folder a command is started in."""

import os
from pathlib import Path

from pipelines.errors import SettingsError

_CODE = Path(__file__).resolve().parents[2]
# Beside this package in a checkout, and never both in a site-packages.
_CHECKOUT_FILES = ("pyproject.toml", "workspace.yaml")
_OWN_FOLDER = "lei-exports"


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
