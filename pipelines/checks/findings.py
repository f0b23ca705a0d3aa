"""What is asked before a run reads, and what was found: a run stops at the first failure, `doctor` shows them all."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

from pipelines.errors import ExportError

Verdict = Literal["ok", "warning", "failed"]


@dataclass(frozen=True)
class Finding:
    """One thing that was looked at.

    Attributes:
        topic: What was looked at, such as `connection`.
        verdict: `ok`; `warning`: a run works, but look at it; `failed`: a run would fail.
        found: What is there; no secret, no URL, no row content.
        fix: How to fix it; empty where nothing is to be done.
    """

    topic: str
    verdict: Verdict
    found: str
    fix: str = ""


@dataclass(frozen=True)
class Question:
    """One thing that is asked before a run reads.

    Attributes:
        topic: What it is about.
        ask: Asks it, and gives what was found; raises ExportError where a run can't go on.
        is_needed: Whether the questions after it can't be asked where it fails.
    """

    topic: str
    ask: Callable[[], Iterable[Finding]]
    is_needed: bool = False


def require_answers(questions: Iterable[Question]) -> None:
    """Ask for a run.

    Raises:
        ExportError: The first failure.
    """
    for question in questions:
        question.ask()


def collect_findings(questions: Iterable[Question]) -> Iterator[Finding]:
    """Ask for a person: a failure is a finding, and what does not need the failed one is asked all the same."""
    for question in questions:
        try:
            yield from question.ask()
        except ExportError as error:
            yield failed(question.topic, error)
            if question.is_needed:
                return


def failed(topic: str, error: ExportError) -> Finding:
    """An expected failure as a finding."""
    parts = [error.what, f"expected {error.expected}" if error.expected else ""]
    parts.append(f"found {error.found}" if error.found else "")
    return Finding(topic, "failed", "; ".join(part for part in parts if part), error.fix)
