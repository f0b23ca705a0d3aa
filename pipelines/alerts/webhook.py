"""What is reported to an operator, as JSON posted to a webhook (ALERT_WEBHOOK_URL), and when."""

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime, timedelta
from http import HTTPStatus
from typing import Annotated, Literal

import requests
from pydantic import Field, SecretStr, TypeAdapter

from pipelines.snapshots.history import CLOCK_SKEW, SourceCheck

AlertKind = Literal["failure", "success", "stale", "test"]
# A source that stays stale is reported again, because a first message can be overlooked.
REPEAT = timedelta(hours=24)
_RESULTS = {
    "published": "a new snapshot is published",
    "held": "a new snapshot is built; a rollback is in force, so the old one stays published",
    "unchanged": "the source is as it was published",
}
_TRIES = 3
_FIRST_PAUSE_S = 1.0
# For all tries together. Dagster gives 60 s to a tick of a sensor, and such a tick has up to five runs to tell of.
TIMEOUT_S = 10.0
_TRY_AGAIN = frozenset(
    {HTTPStatus.TOO_MANY_REQUESTS, *(status for status in HTTPStatus if status >= HTTPStatus.INTERNAL_SERVER_ERROR)}
)


@dataclass(frozen=True)
class Alert:
    """One message to an operator.

    Attributes:
        at: When it was found out, UTC.
        reason: Why, in our words: no secret, no URL, no row content.
        run_id: Dagster's id of the run; None where it is about no run.
        snapshot_id: The published snapshot; None where nothing is published.
    """

    kind: AlertKind
    at: datetime
    reason: str
    run_id: str | None = None
    snapshot_id: str | None = None

    def payload(self) -> dict[str, str | None]:
        """As it is posted; `text` is one line for chat tools that show a field of that name."""
        return {
            "kind": self.kind,
            "at": self.at.isoformat(),
            "reason": self.reason,
            "run_id": self.run_id,
            "snapshot_id": self.snapshot_id,
            "text": f"lei-exports {self.kind}: {self.reason}",
        }


@dataclass(frozen=True)
class StaleMemory:
    """What is remembered between two readings of the clock.

    Attributes:
        since: When watching began: staleness counts from here while there was no check of the source at all.
        reported_at: When the last alert about this staleness was sent; None: none was.
    """

    since: datetime
    reported_at: Annotated[datetime | None, Field(alias="told_at")] = None


STALE_MEMORY = TypeAdapter(StaleMemory)
"""As the cursor of a sensor keeps it, where reported_at is `told_at`."""


def decide_success(last_check: SourceCheck | None, started_at: datetime, run_id: str, now: datetime) -> Alert | None:
    """The alert of a run that succeeded; None where it did not look at the source, such as one that wrote a batch."""
    if last_check is None or last_check.checked_at < started_at:
        return None
    return Alert("success", now, _RESULTS[last_check.result], run_id, last_check.snapshot_id)


def decide_stale(
    last_check: SourceCheck | None, memory: StaleMemory, stale_after: timedelta, now: datetime
) -> tuple[Alert | None, StaleMemory]:
    """Whether the last check of the source is too old, or of the future, and the operator has to be informed now.

    Args:
        last_check: The last successful check of the source: one that found nothing changed is as good as a publication.
        stale_after: Longest time without a check.

    Returns:
        The alert, if any, and what to remember once it is sent.
    """
    # A clock was ahead and is right again: what it left here would keep quiet until then.
    since = now if _is_of_future(memory.since, now) else memory.since
    reported_at = None if memory.reported_at and _is_of_future(memory.reported_at, now) else memory.reported_at
    last = since if last_check is None else last_check.checked_at
    is_of_future = _is_of_future(last, now)
    if now - last <= stale_after and not is_of_future:
        return None, StaleMemory(since)
    if reported_at is not None and now - reported_at < REPEAT:
        return None, StaleMemory(since, reported_at)
    hour = timedelta(hours=1)
    age = f"{(now - last) / hour:.1f} h"
    looked = f"the last successful look at the source was {age} ago"
    reason = looked if last_check else f"the source was never looked at, for {age}"
    reason += f"; expected one every {stale_after / hour:g} h"
    if is_of_future:
        reason = f"the last look at the source is of the future, {last:%Y-%m-%d %H:%M} UTC: a clock was wrong"
    alert = Alert("stale", now, reason, snapshot_id=last_check.snapshot_id if last_check else None)
    return alert, StaleMemory(since, now)


def _is_of_future(at: datetime, now: datetime) -> bool:
    return at - now > CLOCK_SKEW


def post_alert(url: SecretStr, alert: Alert, log: Callable[[str], None]) -> bool:
    """Post an alert as JSON; try again where that may help, for 10 s at most.

    Args:
        url: Where to; secret, it is in no message.
        log: Gets the reason why it could not be posted.

    Returns:
        Whether somebody took it (a status of 2xx). Redirects are not followed.
    """
    found: list[str] = []
    until = time.monotonic() + TIMEOUT_S
    # The time limits of a request are for each part that comes: who sends a byte now and then holds it for ever.
    tries = threading.Thread(target=_post, args=(url, alert, until, found), name="alert", daemon=True)
    tries.start()
    tries.join(TIMEOUT_S)
    why = f"no answer within {TIMEOUT_S:g} s" if tries.is_alive() else found[-1]
    if why:
        log(f"The alert ({alert.kind}) could not be posted to ALERT_WEBHOOK_URL. Found: {why}. Fix: check the webhook")
    return not why


def _post(url: SecretStr, alert: Alert, until: float, found: list[str]) -> None:
    """Try; what was found stands last, nothing where somebody took it."""
    for number in range(_TRIES):
        if number:
            time.sleep(_FIRST_PAUSE_S * 2 ** (number - 1))
        left = until - time.monotonic()
        if left <= 0:
            return
        try:
            with requests.post(
                url.get_secret_value(), json=alert.payload(), timeout=left, allow_redirects=False, stream=True
            ) as answer:
                status = answer.status_code
        except Exception as error:  # noqa: BLE001  a run that succeeded does not fail by its alert
            # Its text holds the URL. Not all are of requests: ValueError for a URL that urllib3 can't read, OSError
            # for REQUESTS_CA_BUNDLE naming a file that is missing.
            found.append(type(error).__name__)
            continue
        if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
            found.append("")
            return
        found.append(f"status {status}")
        if status not in _TRY_AGAIN:
            return
