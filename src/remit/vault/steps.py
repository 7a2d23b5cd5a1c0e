"""Step logins: the only way to anything that can be minted.

- The step token is signed by the authority and lives ten seconds; the login it opens holds the policy ``step-<role>``
  and nothing else.
- Profile ``openbao``: one CEL role for all steps. Profile ``vault``: one native role for each credential role, since
  HashiCorp Vault has no CEL roles.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from remit.confined import Confined
from remit.errors import Refused
from remit.vault.paths import join

Profile = Literal["openbao", "vault"]
MOUNT = "remit-step"
CEL_ROLE = "step"


@dataclass(frozen=True, slots=True)
class StepLogin(Confined):
    """The login of one attempt of one step.

    Args:
        token: Secret.
        accessor: Enough to end the login and all it leased.
        ttl: Seconds it lives unless it is renewed.
    """

    token: str = field(repr=False)
    accessor: str = field(repr=False)
    ttl: int


def request(jwt: str, *, role: str, profile: Profile) -> tuple[str, dict[str, str]]:
    """Return path and body of the login.

    Args:
        role: Credential role; must be the one in the token.
    """
    if profile == "openbao":
        return f"auth/{MOUNT}/cel/login", {"role": CEL_ROLE, "jwt": jwt}
    return f"auth/{MOUNT}/login", {"role": join("step", role).replace("/", "-"), "jwt": jwt}


def answered(answer: Mapping[str, Any] | None) -> StepLogin:
    """Read the answer.

    Raises:
        Refused: ``vault.login``.
    """
    auth = (answer or {}).get("auth")
    if not isinstance(auth, Mapping) or not auth.get("client_token") or not auth.get("accessor"):
        raise Refused("the step login gave no token", code="vault.login", next_action="Run `remit bootstrap`.")
    return StepLogin(str(auth["client_token"]), str(auth["accessor"]), int(auth.get("lease_duration") or 0))
