"""AWS: the credential as botocore and boto3 look for one.

- Read for each signature. A session asks nobody else: not the environment, not a profile, not the instance.
- The fields are those of OpenBao's AWS engine: ``access_key``, ``secret_key`` and, where there is one,
  ``session_token`` (``security_token`` in older versions).
- boto3's transfer threads have no attempt: ``TransferConfig(use_threads=False)``, or they are refused.
"""

from __future__ import annotations

from botocore.credentials import (  # type: ignore[import-untyped]
    CredentialProvider,
    CredentialResolver,
    Credentials,
    ReadOnlyCredentials,
)
from botocore.session import Session  # type: ignore[import-untyped]

from remit.credentials import current_credential

METHOD = "remit"
_TOKENS = ("session_token", "security_token")


class Live(Credentials):  # type: ignore[misc]
    """Credentials that hold nothing: each look reads the running attempt's.

    Raises:
        Refused: ``credential.none`` outside an attempt, from every attribute that would tell a secret.
    """

    def __init__(self) -> None:
        self.method = METHOD
        self.account_id = None

    @property
    def access_key(self) -> str:
        """The access key, now."""
        return current_credential()["access_key"]

    @property
    def secret_key(self) -> str:
        """The secret key, now."""
        return current_credential()["secret_key"]

    @property
    def token(self) -> str | None:
        """The session token, now; None for the key of a user, which has none."""
        values = current_credential().values
        return next((values[name] for name in _TOKENS if name in values), None)

    def get_frozen_credentials(self) -> ReadOnlyCredentials:
        """Return what one request is signed with."""
        return ReadOnlyCredentials(self.access_key, self.secret_key, self.token)


class Provider(CredentialProvider):  # type: ignore[misc]
    """What a session asks for credentials."""

    METHOD = METHOD

    def __init__(self) -> None:
        super().__init__()

    def load(self) -> Live:
        """Return the credentials that hold nothing; there need be no attempt yet."""
        return Live()


def session() -> Session:
    """Return a botocore session that knows no other credentials.

    Example:
        boto3.Session(botocore_session=session(), region_name="eu-central-1").client("s3")
    """
    made = Session()
    made.register_component("credential_provider", CredentialResolver([Provider()]))
    return made
