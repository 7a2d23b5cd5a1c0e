"""Credentials: minted for one attempt behind a fence, destroyed when it ends."""

from remit.credentials.credential import CREDENTIAL, Credential, current_credential
from remit.credentials.ending import Ending
from remit.credentials.lease import Lease
from remit.credentials.mint import Mint, end_login
from remit.credentials.scrub import REDACTED, holds, scrub, scrub_text

__all__ = [
    "CREDENTIAL",
    "REDACTED",
    "Credential",
    "Ending",
    "Lease",
    "Mint",
    "current_credential",
    "end_login",
    "holds",
    "scrub",
    "scrub_text",
]
