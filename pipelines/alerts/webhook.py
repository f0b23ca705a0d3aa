"""Posting an alert to the operator's webhook. A webhook that is down is told, and fails nothing."""

import time
from collections.abc import Callable
from http import HTTPStatus

import requests
from pydantic import SecretStr

from pipelines.alerts.events import Alert

_TRIES = 3
_FIRST_PAUSE_S = 1.0
# Together with the pauses less than the 60 s that Dagster gives to a sensor.
_CONNECT_S, _ANSWER_S = 5.0, 10.0
_TRY_AGAIN = frozenset(
    {HTTPStatus.TOO_MANY_REQUESTS, *(status for status in HTTPStatus if status >= HTTPStatus.INTERNAL_SERVER_ERROR)}
)


def post_alert(url: SecretStr, alert: Alert, say: Callable[[str], None]) -> bool:
    """Post an alert as JSON; try again where that may help.

    Args:
        url: Where to; secret, it is in no message.
        alert: What to tell.
        say: Hears why it could not be posted.

    Returns:
        Whether somebody took it (a status of 2xx). Redirects are not followed.
    """
    found = ""
    for number in range(_TRIES):
        if number:
            time.sleep(_FIRST_PAUSE_S * 2 ** (number - 1))
        try:
            answer = requests.post(
                url.get_secret_value(), json=alert.payload(), timeout=(_CONNECT_S, _ANSWER_S), allow_redirects=False
            )
        except (requests.RequestException, ValueError) as error:
            # Its text holds the URL. ValueError: a URL that urllib3 can't read.
            found = type(error).__name__
            continue
        if HTTPStatus.OK <= answer.status_code < HTTPStatus.MULTIPLE_CHOICES:
            return True
        found = f"status {answer.status_code}"
        if answer.status_code not in _TRY_AGAIN:
            break
    say(
        f"The alert ({alert.kind}) could not be posted to ALERT_WEBHOOK_URL. Found: {found}. Way out: check the webhook"
    )
    return False
