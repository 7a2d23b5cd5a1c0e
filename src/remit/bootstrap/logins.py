"""Login methods: workloads by signed tokens, people by password or OpenID, steps by step token.

- Workloads: role ``authority`` for one SPIFFE ID, role ``agent`` for those of the catalogue's agents; sessions of a
  quarter of an hour.
- Steps: validated with the authority's own public key. A login lives a minute, renewed while its step runs and its
  chain is live, and at most as long as the catalogue lets the credential live.
- Nothing gives a policy here but the step logins; the rest is in the entity.
"""

from __future__ import annotations

import base64
import json
import secrets
from collections.abc import Collection, Mapping

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ed25519

from remit.bootstrap.identities import STEP_KEY
from remit.bootstrap.result import OidcProvider, WorkloadTrust
from remit.bootstrap.wanted import Wanted
from remit.catalogue import Catalogue
from remit.credentials.mint import STEP_AUDIENCE
from remit.vault import transit
from remit.vault.paths import join
from remit.vault.steps import CEL_ROLE, Profile
from remit.vault.steps import MOUNT as STEPS

WORKLOADS = "remit-workload"
STEP_SECONDS = 60
"""Life of a step login unless it is renewed: what a crash can leave behind."""
WORKLOAD_SECONDS = 900
PERSON_SECONDS = 8 * 3600
_SKEW = 5
_ALGORITHMS = ["EdDSA", "ES256", "RS256"]

_META = ("chain", "root", "delegation", "task", "step", "attempt", "principal")


async def workloads(wanted: Wanted, catalogue: Catalogue, trust: WorkloadTrust | None) -> bytes | None:
    """Set the workloads' logins up; return the private key of an issuer that had to be made for it."""
    made: bytes | None = None
    path = f"auth/{WORKLOADS}/config"
    if trust is None and not await _has_keys(wanted, path):
        issuer = ed25519.Ed25519PrivateKey.generate()
        made = issuer.private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        trust = WorkloadTrust(f"spiffe://{catalogue.trust_domain}", (_pem(issuer.public_key()),))
    if trust is not None:
        keys = {"jwks_url": trust.jwks_url, "jwks_ca_pem": trust.jwks_ca, "jwt_validation_pubkeys": trust.public_keys}
        await wanted.settings(path, {**keys, "bound_issuer": trust.issuer, "jwt_supported_algs": _ALGORITHMS})
    audience = trust.audience if trust else "openbao"
    subjects = {
        "authority": [f"spiffe://{catalogue.trust_domain}/authority"],
        "agent": [f"spiffe://{catalogue.trust_domain}/agent/{name}" for name in sorted(catalogue.agents)],
    }
    for role, names in subjects.items():
        settings = {
            "role_type": "jwt",
            "user_claim": "sub",
            "bound_audiences": [audience],
            "bound_claims": {"sub": names},
            "expiration_leeway": -1,
            "not_before_leeway": -1,
            "clock_skew_leeway": _SKEW,
            "token_policies": [],
            "token_no_default_policy": True,
            "token_ttl": WORKLOAD_SECONDS,
            "token_max_ttl": WORKLOAD_SECONDS,
        }
        await wanted.settings(f"auth/{WORKLOADS}/role/{role}", settings)
    return made


async def people(
    wanted: Wanted, catalogue: Catalogue, *, passwords: Mapping[str, str], reset: Collection[str]
) -> dict[str, str]:
    """Make users that log in with a password; return the passwords of those made or reset now.

    Args:
        passwords: Passwords to give, by name; others are generated.
        reset: Names of people who get a new one although they have one.
    """
    made = {}
    for name in catalogue.people:
        password = passwords.get(name) or secrets.token_urlsafe(18)
        settings = {
            "token_policies": [],
            "token_no_default_policy": True,
            "token_ttl": PERSON_SECONDS,
            "token_max_ttl": PERSON_SECONDS,
        }
        path = join("auth/userpass/users", name)
        if await wanted.vault.read(path) is None:
            await wanted.settings(path, settings, secret={"password": password}, label=f"user {name}")
            made[name] = password
            continue
        await wanted.settings(path, settings, label=f"user {name}")
        if name in reset:
            await wanted.vault.write(f"{path}/password", password=password)
            wanted.changed.append(f"password of {name}")
            made[name] = password
    return made


async def oidc(wanted: Wanted, provider: OidcProvider) -> None:
    """Let people log in with an OpenID provider."""
    config = {
        "oidc_discovery_url": provider.discovery_url,
        "oidc_discovery_ca_pem": provider.ca,
        "oidc_client_id": provider.client_id,
        "default_role": "person",
        "jwt_supported_algs": _ALGORITHMS,
    }
    await wanted.settings("auth/oidc/config", config, secret={"oidc_client_secret": provider.client_secret})
    role = {
        "role_type": "oidc",
        "user_claim": provider.user_claim,
        "allowed_redirect_uris": list(provider.redirect_uris),
        "oidc_scopes": list(provider.scopes),
        "bound_audiences": [provider.client_id],
        "token_policies": [],
        "token_no_default_policy": True,
        "token_ttl": PERSON_SECONDS,
        "token_max_ttl": PERSON_SECONDS,
    }
    await wanted.settings("auth/oidc/role/person", role)


async def steps(wanted: Wanted, catalogue: Catalogue, *, longest: Mapping[str, int], profile: Profile) -> None:
    """Set the step logins up.

    Args:
        longest: Seconds the logins of each credential role may live in all.
    """
    key = await transit.public_key(wanted.vault, STEP_KEY)
    config = {
        "jwt_validation_pubkeys": [_pem(ed25519.Ed25519PublicKey.from_public_bytes(_raw(key.jwk["x"])))],
        "bound_issuer": f"spiffe://{catalogue.trust_domain}/authority",
        "jwt_supported_algs": ["EdDSA"],
    }
    await wanted.settings(f"auth/{STEPS}/config", config, label="step logins")
    if profile == "openbao":
        await wanted.settings(f"auth/{STEPS}/cel/role/{CEL_ROLE}", _cel(longest), label="step role")
        return
    for role, seconds in longest.items():
        await wanted.settings(join(f"auth/{STEPS}/role", f"step-{role}"), _native(role, seconds))


def _cel(longest: Mapping[str, int]) -> dict[str, object]:
    """Return the CEL role: whatever the program does not say yes to is rejected.

    OpenBao's own expiry check forgives the clock skew that the beginning of a token needs, so the program checks the
    end itself.
    """
    roles = json.dumps(sorted(longest))
    nanoseconds = ", ".join(f"'{role}': {seconds * 10**9}" for role, seconds in sorted(longest.items()))
    meta = ", ".join(f"'{name}': claims.{name}" for name in _META)
    fresh = "int(claims.exp) > int(now) && claims.exp - claims.iat <= 10.0"
    auth = (
        "pb.Auth{display_name: claims.delegation + '-' + claims.step, policies: ['step-' + claims.dbrole],"
        " metadata: meta, no_default_policy: true, alias: logical.Alias{name: claims.root},"
        f" explicit_max_ttl: {{{nanoseconds}}}[claims.dbrole],"
        f" lease_options: pb.LeaseOptions{{TTL: {STEP_SECONDS * 10**9}, renewable: true, issue_time: now}}}}"
    )
    return {
        "bound_audiences": [STEP_AUDIENCE],
        "expiration_leeway": -1,
        "not_before_leeway": -1,
        "clock_skew_leeway": _SKEW,
        "cel_program": {
            "variables": [
                {"name": "ok", "expression": f"claims.typ == 'step' && {fresh} && claims.dbrole in {roles}"},
                {"name": "meta", "expression": f"{{{meta}, 'actor': claims.act.sub}}"},
            ],
            "expression": f"!ok ? 'rejected' : {auth}",
        },
    }


def _native(role: str, seconds: int) -> dict[str, object]:
    """Return the role of one credential role for servers without CEL.

    Claims become metadata for the audit log only: metadata belongs to the alias, the last login wins, so no policy may
    ever depend on it.
    """
    return {
        "role_type": "jwt",
        "user_claim": "root",
        "bound_audiences": [STEP_AUDIENCE],
        "bound_claims": {"typ": "step", "dbrole": role},
        "claim_mappings": {name: name for name in _META} | {"/act/sub": "actor"},
        "expiration_leeway": -1,
        "not_before_leeway": -1,
        "clock_skew_leeway": _SKEW,
        "token_policies": [f"step-{role}"],
        "token_no_default_policy": True,
        "token_ttl": STEP_SECONDS,
        "token_explicit_max_ttl": seconds,
        "token_type": "service",
    }


async def _has_keys(wanted: Wanted, path: str) -> bool:
    answer = await wanted.vault.read(path)
    data = {} if answer is None else answer["data"]
    return bool(data.get("jwt_validation_pubkeys") or data.get("jwks_url") or data.get("oidc_discovery_url"))


def _raw(text: str) -> bytes:
    return base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))


def _pem(key: ed25519.Ed25519PublicKey) -> str:
    return key.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo).decode()
