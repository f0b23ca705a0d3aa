"""The process that draws: the same drawings as in process, and every way in which it can fail."""

import signal
import sys
import threading
from pathlib import Path

import psutil
import pytest

from pipelines.errors import ReportError
from pipelines.report.charts import Spec, draw_bars
from pipelines.report.drawing import MAX_SECONDS, draw_here, drawing_process, image_uri, inline_svg
from tests.forking import run_program

pytestmark = pytest.mark.fast

BARS = draw_bars(["a", "\U0001f3e6 \u2028\n"], [1, 2], ["1", "2"])


def the_child() -> psutil.Process:
    """The drawing process; the tests' own server may be a child too."""
    children = psutil.Process().children()
    (drawing,) = [child for child in children if "pipelines.report.drawing" in " ".join(child.cmdline())]
    return drawing


def test_draws_what_this_process_draws() -> None:
    with drawing_process() as draw:
        assert draw(BARS) == draw_here(BARS)
        assert inline_svg(BARS, "x", draw) == inline_svg(BARS, "x")
        assert image_uri(BARS, draw) == image_uri(BARS)
        child = the_child()
    assert not child.is_running()


def test_a_refused_specification_is_an_error_and_the_next_is_drawn() -> None:
    broken: Spec = {"mark": "no such mark", "data": {"values": [{"a": 1}]}}
    with drawing_process() as draw:
        with pytest.raises(ReportError, match="refused"):
            draw(broken)
        assert draw(BARS).startswith("<svg")
    with pytest.raises(ReportError, match="refused"):
        draw_here(broken)


def test_a_killed_process_is_an_error() -> None:
    with drawing_process() as draw:
        draw(BARS)
        the_child().kill()
        for _ in range(2):
            with pytest.raises(ReportError, match="status -9"):
                draw(BARS)


def test_what_crashes_in_the_process_is_in_the_error() -> None:
    with drawing_process() as draw:
        draw(BARS)
        the_child().send_signal(signal.SIGSEGV)
        with pytest.raises(
            ReportError, match=r"status -11 after Fatal Python error: Segmentation fault at \S+\.py:\d+"
        ):
            draw(BARS)


def test_a_drawing_without_end_is_an_error() -> None:
    with drawing_process(max_seconds=0.5) as draw:
        the_child().send_signal(signal.SIGSTOP)
        with pytest.raises(ReportError, match=r"within 0\.5 s"):
            draw(BARS)


def test_an_interrupt_as_the_time_limit_begins_does_not_hold_up_the_exit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Python waits for a timer that runs: a stopped run once ended after the 30 s of a drawing."""
    timers: list[threading.Timer] = []
    start = threading.Timer.start

    def start_and_be_interrupted(timer: threading.Timer) -> None:
        start(timer)
        timers.append(timer)
        raise KeyboardInterrupt

    with drawing_process() as draw:
        monkeypatch.setattr(threading.Timer, "start", start_and_be_interrupted)
        with pytest.raises(KeyboardInterrupt):
            draw(BARS)
    timers[0].join(MAX_SECONDS / 2)
    assert not timers[0].is_alive()


def test_ends_with_its_parent(tmp_path: Path) -> None:
    """Killed hard while it draws: nothing stays behind."""
    code = (
        "import os, psutil, signal\n"
        "from pipelines.report.drawing import drawing_process\n"
        "with drawing_process() as draw:\n"
        "    draw({'data': {'values': []}, 'mark': 'bar'})\n"
        "    print(psutil.Process().children()[0].pid, flush=True)\n"
        "    os.kill(os.getpid(), signal.SIGKILL)\n"
    )
    done = run_program([sys.executable, "-c", code])
    assert done.returncode == -signal.SIGKILL, done.stderr
    try:
        child = psutil.Process(int(done.stdout))
    except psutil.NoSuchProcess:
        return
    child.wait(timeout=120)
