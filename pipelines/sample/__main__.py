"""`python -m pipelines.sample`: fills the empty database of DATABASE_URL with the sample, for compose.yaml.

A database that has one of the two tables is left as it is.
"""

import sys

from pipelines.errors import ExportError, SettingsError
from pipelines.sample.load import ensure_sample
from pipelines.settings import load_settings
from pipelines.system.printable import printable


def main() -> int:
    """Fill it, and say whether it was filled; the exit status."""
    try:
        settings = load_settings()
        if settings.database_url is None:
            raise SettingsError("There is no database to fill", found="no DATABASE_URL", fix="set DATABASE_URL")
        filled = ensure_sample(settings.database_url.get_secret_value(), settings.source_schema)
    except ExportError as error:
        sys.stderr.write(f"Error: {printable(str(error))}\n")
        return 1
    sys.stdout.write("The sample was loaded.\n" if filled else "There are tables already: they stay as they are.\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
