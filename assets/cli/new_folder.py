"""Says where data will lie, before the folder is made that nobody chose."""

from pathlib import Path

from assets.cli.console import new_console, print_wrapped
from pipelines.errors import SettingsError
from pipelines.system.folders import data_folder


def name_new_folder(*used: Path) -> None:
    """Say on standard error that the data folder is made now: in a checkout it is there already.

    Args:
        used: The folders that the command makes; where each was chosen by a setting, nothing is said.
    """
    try:
        folder = data_folder()
    except SettingsError:  # there is none, so each of them was chosen
        return
    if any(path.is_relative_to(folder) for path in used) and not folder.exists():
        others = "EXPORT_DIR, EMBEDDED_DIR and DAGSTER_HOME choose other folders"
        print_wrapped(new_console(stderr=True), f"Data goes to {folder}, which is made now. {others}.")
