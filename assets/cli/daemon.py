"""`python -m assets.cli.daemon`: Dagster's program `dagster-daemon run`, with a log that says what happened.

Dagster's own says every minute of every sensor that it was asked and why it asks for no run.
"""

import logging
import re
import sys

from dagster._daemon.cli import run_command

# Loggers of the daemons that poll; a filter of a logger sees what is said to that very logger.
_LOGGERS = ("dagster.daemon.SensorDaemon", "dagster.daemon.QueuedRunCoordinatorDaemon")
_EMPTY = re.compile(
    "Checking for new runs for sensor: |No run requests returned for |Priority sorting and checking tag concurrency"
    "|Sensor [^ ]+ skipped: (Sensor function returned an empty result|Initiating )"
)
_SKIPPED = re.compile("Sensor ([^ ]+) skipped: (.*)", re.DOTALL)


class News(logging.Filter):
    """Lets through what is new: of a sensor that asks for no run, a reason that is not the one before."""

    def __init__(self) -> None:
        super().__init__()
        self._reasons: dict[str, str] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        """Whether a line is worth its place."""
        said = record.getMessage()
        skipped = _SKIPPED.match(said)
        if record.levelno > logging.INFO:
            return True
        if _EMPTY.match(said):
            return False
        if skipped is None:
            return True
        sensor, reason = skipped.groups()
        is_new = self._reasons.get(sensor) != reason
        self._reasons[sensor] = reason
        return is_new


def set_up_log() -> None:
    """Filter the log of this process, before Dagster's program sets up its own part of it.

    Dagster's lines do not go to the root logger too: a library that logs there (sqlite_event_log.py of Dagster does)
    gives it a handler, and each line would be there twice.
    """
    logging.getLogger("dagster").propagate = False
    news = News()
    for name in _LOGGERS:
        logging.getLogger(name).addFilter(news)


def main() -> None:
    """Run the daemon with the arguments of `dagster-daemon run`."""
    set_up_log()
    run_command(sys.argv[1:], prog_name="dagster-daemon run")


if __name__ == "__main__":
    main()
