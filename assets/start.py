"""Where the console script `lei-exports` begins: a Ctrl-C while commands are loaded ends it in a line."""

import signal
import sys

_INTERRUPTED = 130


def main() -> None:
    """Load the commands and run the one that was asked for."""
    try:
        from assets.cli import main as run_command  # noqa: PLC0415  see above

        run_command()
    except KeyboardInterrupt:
        sys.stderr.write("Error: Interrupted.\n")
        sys.exit(_INTERRUPTED)
    finally:
        # All is said and done: the interpreter's own end is not to be interrupted.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
