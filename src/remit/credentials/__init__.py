"""Credentials: minted for one attempt behind a fence, destroyed when it ends."""

from remit.credentials.credential import CREDENTIAL, Credential, current_credential
from remit.credentials.ending import Ending
from remit.credentials.lease import Lease
from remit.credentials.logs import guard_logs
from remit.credentials.mint import Mint, end_login
from remit.credentials.scrub import REDACTED, holds, leaks, scrub, scrub_text

__all__ = [
    "CREDENTIAL",
    "REDACTED",
    "Credential",
    "Ending",
    "Lease",
    "Mint",
    "current_credential",
    "end_login",
    "guard_logs",
    "holds",
    "leaks",
    "scrub",
    "scrub_text",
]
