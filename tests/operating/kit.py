"""A webhook of an operator: a server on 127.0.0.1 that keeps what is posted to it."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler
from typing import Any

from tests.ports import answering

SECRET = "s3cr3t-path-of-the-hook"


@dataclass
class Hook:
    """What was posted, and how it is answered.

    Attributes:
        url: Its address, with a secret in it.
        alerts: What was posted, oldest first.
        answers: Statuses of the next answers; then 204.
    """

    url: str = ""
    alerts: list[dict[str, Any]] = field(default_factory=list)
    answers: list[int] = field(default_factory=list)


@contextmanager
def webhook(answers: Sequence[int] = ()) -> Iterator[Hook]:
    hook = Hook(answers=list(answers))

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            assert self.headers["Content-Type"] == "application/json"
            hook.alerts.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(hook.answers.pop(0) if hook.answers else 204)
            self.send_header("Location", "/elsewhere")
            self.send_header("Content-Length", "0")
            self.end_headers()

    with answering(Handler) as port:
        hook.url = f"http://127.0.0.1:{port}/{SECRET}"
        yield hook
