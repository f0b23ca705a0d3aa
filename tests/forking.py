"""Processes of their own that begin with everything imported: forked from a server (multiprocessing's forkserver).

A new interpreter takes a second of the processor for that, two with Dagster; a fork takes none. The server is one for a
process of tests. What measures memory, or is about the start of a program, starts the program.
"""

import fcntl
import multiprocessing
import os
import signal
import subprocess
import sys
import termios
from collections.abc import Mapping, Sequence
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

LEI_EXPORTS = Path(sys.executable).with_name("lei-exports")
CONTEXT = multiprocessing.get_context("forkserver")
CONTEXT.set_forkserver_preload([
    "assets.cli.runtime_tuning", "assets.cli.commands", "assets.cli.launch", "assets.defs.definitions",
    "pipelines.serving.server", "tests.killing", "tests.publish.kit",
])  # fmt: skip
_MAX_S = 180


def clean_environment(**variables: str) -> dict[str, str]:
    """Nothing of this process's environment but PATH and HOME, and these variables."""
    return {**{name: os.environ[name] for name in ("PATH", "HOME") if name in os.environ}, **variables}


def run_program(command: Sequence[str | Path], **options: Any) -> "subprocess.CompletedProcess[str]":
    """Run a program to its end, whatever its exit status, and keep what it printed; options of subprocess.run."""
    return subprocess.run(command, capture_output=True, text=True, check=False, **options)


def run_forked(script: str, *arguments: object, status: int | None = 0) -> "subprocess.CompletedProcess[str]":
    """Run a script to its end, with these arguments in sys.argv, as `python -c` does; None: any exit status will do.

    What it prints has to fit into a pipe (64 kB); a file would be no place for it where its size is limited.
    """
    words = [*map(str, arguments)]
    pipes = [CONTEXT.Pipe(duplex=False) for _ in ("stdout", "stderr")]
    process = CONTEXT.Process(target=_play, args=(script, words, *(sender for _, sender in pipes)))
    process.start()
    for _, sender in pipes:
        sender.close()
    _wait(process, _MAX_S)
    out, err = (_whole(receiver) for receiver, _ in pipes)
    assert status is None or process.exitcode == status, err
    return subprocess.CompletedProcess(words, process.exitcode or 0, out, err)


def start_command(
    arguments: Sequence[str | Path], folder: Path, environment: Mapping[str, str], streams: Sequence[int]
) -> BaseProcess:
    """Start `lei-exports` in a session of its own, as the console script does.

    Args:
        arguments: Of the command.
        folder: Where it runs.
        environment: Its variables, besides PATH and HOME.
        streams: File descriptors of its standard input, output and error. Input that is a terminal is the one that
            Ctrl-C comes from.
    """
    words = [str(LEI_EXPORTS), *map(str, arguments)]
    passed = [Connection(os.dup(number)) for number in streams]
    given = (words, folder, clean_environment(**environment), passed)
    process = CONTEXT.Process(target=_command, args=given, daemon=True)
    process.start()
    return process


def run_command(
    arguments: Sequence[str | Path], folder: Path, environment: Mapping[str, str]
) -> "subprocess.CompletedProcess[str]":
    """Run `lei-exports` to its end; arguments as of `start_command`, there is no input."""
    with open(os.devnull, "rb") as nothing, TemporaryFile() as out, TemporaryFile() as err:  # noqa: PTH123
        process = start_command(arguments, folder, environment, [file.fileno() for file in (nothing, out, err)])
        _wait(process, _MAX_S)
        texts = []
        for file in (out, err):
            file.seek(0)
            texts.append(file.read().decode())
    return subprocess.CompletedProcess([*arguments], process.exitcode or 0, *texts)


def _wait(process: BaseProcess, seconds: float) -> None:
    process.join(seconds)
    if process.exitcode is None:
        process.kill()
        process.join()


def _whole(receiver: Connection) -> str:
    with receiver, os.fdopen(os.dup(receiver.fileno()), encoding="utf-8") as file:
        return file.read()


def _play(script: str, arguments: list[str], stdout: Connection, stderr: Connection) -> None:
    os.dup2(stdout.fileno(), 1)
    os.dup2(stderr.fileno(), 2)
    sys.argv = ["-c", *arguments]
    exec(compile(script, "<script>", "exec"), {"__name__": "__main__"})  # noqa: S102


def _command(words: list[str], folder: Path, environment: dict[str, str], streams: Sequence[Connection]) -> None:
    os.setsid()
    for number, stream in enumerate(streams):
        os.dup2(stream.fileno(), number)
        stream.close()
    if os.isatty(0):
        fcntl.ioctl(0, termios.TIOCSCTTY, 0)
    sys.stdin, sys.stdout, sys.stderr = (
        open(number, mode, encoding="utf-8", errors=errors, closefd=False)  # noqa: SIM115
        for number, mode, errors in ((0, "r", "strict"), (1, "w", "strict"), (2, "w", "backslashreplace"))
    )
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.argv = words
    from assets.cli.start import main  # noqa: PLC0415  as the console script: nothing of it before

    main()
