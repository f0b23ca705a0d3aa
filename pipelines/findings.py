"""What `lei-exports doctor` finds: one line of a diagnosis, good or bad, with the way out."""

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
        fix: The way out; empty where nothing is to be done.
    """

    topic: str
    verdict: Verdict
    found: str
    fix: str = ""


def failed(topic: str, error: ExportError) -> Finding:
    """An expected failure as a finding."""
    parts = [error.what, f"expected {error.expected}" if error.expected else ""]
    parts.append(f"found {error.found}" if error.found else "")
    return Finding(topic, "failed", "; ".join(part for part in parts if part), error.fix)
