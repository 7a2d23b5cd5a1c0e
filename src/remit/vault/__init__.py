"""OpenBao and HashiCorp Vault: sessions, records, signing keys.

- `Vault` asks; `Documents` keeps records by compare-and-set; `TransitSigner` signs; `Shared` makes many reads one.
- A no is `Refused`, an outage is `Held`, and neither is ever taken for "fine".
"""

from remit.vault.client import Vault
from remit.vault.documents import Documents
from remit.vault.logins import JwtLogin, Login, Session, Token, TokenFile, UserpassLogin
from remit.vault.oidc import OidcLogin
from remit.vault.shared import Batch, Shared
from remit.vault.steps import StepLogin
from remit.vault.transit import TransitSigner

__all__ = [
    "Batch",
    "Documents",
    "JwtLogin",
    "Login",
    "OidcLogin",
    "Session",
    "Shared",
    "StepLogin",
    "Token",
    "TokenFile",
    "TransitSigner",
    "UserpassLogin",
    "Vault",
]
