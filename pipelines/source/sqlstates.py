"""What an SQLSTATE means for a run: what an operator reads, and whether a new try may succeed.

The code decides, never the text: a server speaks the language of its lc_messages, and may quote values. Codes and
classes: https://www.postgresql.org/docs/current/errcodes-appendix.html.
"""

from typing import NamedTuple


class Reason(NamedTuple):
    """Why something failed.

    Attributes:
        found: What happened.
        fix: What to do about it.
        may_pass: Whether it may pass by itself, so that a new try is worth it.
    """

    found: str
    fix: str
    may_pass: bool = False


_AGAIN = "start the run again"
_SERVER_LOG = "the PostgreSQL server's log has the cause"

# Codes before classes (their first two letters).
_REASONS = {
    "22": Reason(
        "a value that PostgreSQL can't compute or convert",
        "correct the value, or the expression of the view that gives the column",
    ),
    "25P03": Reason("the server ended a session that was idle in its transaction", _AGAIN, may_pass=True),
    "25P04": Reason("the server ended a transaction that took too long", _AGAIN, may_pass=True),
    "40001": Reason(
        "the server cancelled the read: on a standby, because it conflicts with recovery",
        "on a standby raise max_standby_streaming_delay, or turn hot_standby_feedback on; else start the run again",
        may_pass=True,
    ),
    "40": Reason("the server rolled the transaction back", _AGAIN, may_pass=True),
    "42501": Reason(
        "no privilege, or row-level security that hides rows",
        "grant it: docs/security.md has the SQL; for row-level security ALTER ROLE … BYPASSRLS, or change the policy",
    ),
    "42P01": Reason("a table or view that is not there", "look at the view's definition, or check SOURCE_SCHEMA"),
    "42703": Reason("a column that is not there", "look at the view's definition"),
    "53300": Reason(
        "the server has no free connection",
        "lower READ_CONNECTIONS, or raise max_connections or the role's CONNECTION LIMIT",
        may_pass=True,
    ),
    "53": Reason("the server is short of memory, disk or another resource", _AGAIN, may_pass=True),
    "55P03": Reason(
        "another session holds the table exclusively",
        "try again when the ALTER TABLE, VACUUM FULL or TRUNCATE is done",
        may_pass=True,
    ),
    "57014": Reason(
        "the statement took too long, or somebody cancelled it",
        "start the run again, or raise EXPORT_MAX_SECONDS",
        may_pass=True,
    ),
    "57P03": Reason("the server is starting, stopping or recovering", "try again when it is up", may_pass=True),
    "57P04": Reason("the database was dropped", "check the database in DATABASE_URL"),
    "57P": Reason("the server ended the connection", _AGAIN, may_pass=True),
    "58": Reason("the server had an error of its operating system", _SERVER_LOG),
    "08": Reason("the connection broke", _AGAIN, may_pass=True),
    "XX": Reason("an internal error of the server, or damaged data", _SERVER_LOG),
}


def reason_of(sqlstate: str) -> Reason:
    """What a code means; what is not known here is not tried again."""
    for length in (5, 3, 2):
        if reason := _REASONS.get(sqlstate[:length]):
            return reason
    return Reason("an error that is not expected here", _SERVER_LOG)
