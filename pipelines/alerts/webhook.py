"""Posting an alert to the operator's webhook. One that is down or slow is reported; it fails and delays nothing."""

import threading
import time
from collections.abc import Callable
from http import HTTPStatus

import requests
from pydantic import SecretStr

from pipelines.alerts.events import Alert

_TRIES = 3
_FIRST_PAUSE_S = 1.0
# For all tries together. Dagster gives 60 s to a tick of a sensor, and such a tick has up to five runs to tell of.
LONGEST_S = 10.0
_TRY_AGAIN = frozenset(
    {HTTPStatus.TOO_MANY_REQUESTS, *(status for status in HTTPStatus if status >= HTTPStatus.INTERNAL_SERVER_ERROR)}
)


def post_alert(url: SecretStr, alert: Alert, say: Callable[[str], None]) -> bool:
    """Post an alert as JSON; try again where that may help, for 10 s at most.

    Args:
        url: Where to; secret, it is in no message.
        alert: What to tell.
        say: Hears why it could not be posted.

    Returns:
        Whether somebody took it (a status of 2xx). Redirects are not followed.
    """
    found: list[str] = []
    until = time.monotonic() + LONGEST_S
    # The time limits of a request are for each part that comes: who sends a byte now and then holds it for ever.
    tries = threading.Thread(target=_post, args=(url, alert, until, found), name="alert", daemon=True)
    tries.start()
    tries.join(LONGEST_S)
    why = f"no answer within {LONGEST_S:g} s" if tries.is_alive() else found[-1]
    if why:
        say(f"The alert ({alert.kind}) could not be posted to ALERT_WEBHOOK_URL. Found: {why}. Fix: check the webhook")
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
        except (requests.RequestException, ValueError) as error:
            # Its text holds the URL. ValueError: a URL that urllib3 can't read.
            found.append(type(error).__name__)
            continue
        if HTTPStatus.OK <= status < HTTPStatus.MULTIPLE_CHOICES:
            found.append("")
            return
        found.append(f"status {status}")
        if status not in _TRY_AGAIN:
            return
