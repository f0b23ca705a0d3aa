"""What object storage says when it refuses, in our words: its own texts hold addresses, and may hold key ids."""

import re
from collections.abc import Iterator
from contextlib import contextmanager

from deltalake.exceptions import DeltaError
from obstore.exceptions import BaseError, PermissionDeniedError, UnauthenticatedError

from pipelines.errors import RemoteError

# Delta's errors draw arrows between their parts, in colour.
_DRAWN = re.compile(r"\x1b\[\d*m|↳|\s+")
_STATUS = re.compile(r"status code:? (\d{3})\b")
_INSTANCE_METADATA = "169.254.169.254"
_RIGHTS = "give these credentials the rights that docs/security.md lists, on this prefix"
_CREDENTIALS = "set the credentials of the store, such as AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY"
_LATER = "try again later: lei-exports push sends what is missing; if it stays, check endpoint, network and bucket"
_FORBIDDEN, _UNAUTHORIZED = "403", "401"
_DENIED = "AccessDenied"  # of one object among those that one request deletes
# Words in the texts of both libraries, and what they mean.
_CAUSES = {
    "NoSuchBucket": "no such bucket",
    "timed out": "no answer in time",
    "TimedOut": "no answer in time",
    "Connect": "no connection",
    "connection closed": "the connection broke",
    "error sending request": "no connection, or it broke",
    "No space left": "no room on the disk",
    "Permission denied": "the file system refused it",
}


@contextmanager
def store_errors(what: str) -> Iterator[None]:
    """Turn errors of object storage and of Delta into RemoteError; their own texts are left out."""
    try:
        yield
    except (BaseError, DeltaError, OSError, NotImplementedError) as error:
        raise as_remote_error(what, error) from None


def as_remote_error(what: str, error: Exception) -> RemoteError:
    """An error of a store as ours."""
    text = re.sub(r" +", " ", _DRAWN.sub(" ", str(error)))
    status = _STATUS.search(text)
    code = status.group(1) if status else ""
    if isinstance(error, PermissionDeniedError) or code == _FORBIDDEN or _DENIED in text:
        return RemoteError(what, found="the store refuses it (403)", fix=_RIGHTS)
    if isinstance(error, UnauthenticatedError) or code == _UNAUTHORIZED or _INSTANCE_METADATA in text:
        return RemoteError(what, found="no credentials, or wrong ones", fix=_CREDENTIALS)
    found = next((meaning for word, meaning in _CAUSES.items() if word in text), "")
    if not found:
        found = f"the store answers {code}" if code else type(error).__name__
    return RemoteError(what, found=found, fix=_LATER)
