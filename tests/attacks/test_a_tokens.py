"""Attacks 1 to 8: hostile documents, stored in the registry, presented by a real attempt.

Each is signed with alice's own key, so that nothing but the rule in question stands between it and a credential.
"""

from __future__ import annotations

import json
import threading
import time
import uuid
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from hashlib import sha256
from hmac import digest as hmac
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import jwt
import pytest

from remit import jose
from remit.approvals import TYP as APPROVAL
from remit.assembly import Parts, assemble
from remit.bootstrap.identities import STEP_KEY, TOKEN_KEY
from remit.chain import chain_digest, subject_of
from remit.client import Remit
from remit.delegation import TYP as DELEGATION
from remit.delegation import Reference
from remit.embedded import Stack
from remit.errors import NeedsApproval, Refused, RemitError
from remit.presentation import ACCESS_TYP, STEP_TYP
from remit.presentation import TYP as PRESENTATION
from remit.settings import Settings
from remit.statements import TYP as STATEMENT
from remit.step import Call, arguments_digest
from remit.temporal._failure import to_application_error

from ..integration.acting import PUBLISH, READ, Task, approve, authorize, delegate, principal
from .effects import effects
from .forging import Claims, Forger, asked, b64, forging, grant

pytestmark = pytest.mark.servers

Make = Callable[[Forger, Claims], Awaitable[str]]
ALICE = "user/alice"


@pytest.fixture(scope="module")
async def parts(settings: Settings) -> AsyncIterator[Parts]:
    async with assemble(settings) as made:
        yield made


@pytest.fixture(scope="module")
async def forger(stack: Stack, settings: Settings, parts: Parts) -> AsyncIterator[Forger]:
    async with forging(stack, settings, parts) as made:
        yield made


class Listener:
    """An HTTP server on loopback that nobody must call."""

    def __init__(self) -> None:
        self.calls: list[str] = []
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.calls.append(self.path)
                self.send_response(404)
                self.end_headers()

            def log_message(self, format: str, *args: Any) -> None:
                """Be silent."""

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_port}/keys"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.05})
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture(scope="module")
def listener() -> Iterator[Listener]:
    made = Listener()
    yield made
    made.close()


async def refused(parts: Parts, task: Task, call: Call = READ) -> RemitError:
    with pytest.raises(RemitError) as caught:
        await authorize(parts, task.attempt(call, credential="flights-ro"))
    assert isinstance(caught.value, Refused)
    assert to_application_error(caught.value).non_retryable, "it is not tried again"
    return caught.value


def headed(**names: Any) -> Make:
    return lambda forger, claims: forger.sign(claims, by=ALICE, **names)


def written(edit: Callable[[str], str]) -> Make:
    """Sign other bytes than the claims."""
    return lambda forger, claims: forger.sign(edit(json.dumps(claims)).encode(), by=ALICE)


def claiming(**changes: Any) -> Make:
    def make(forger: Forger, claims: Claims) -> Awaitable[str]:
        told = {name: value for name, value in (claims | changes).items() if value is not ...}
        return forger.sign(told, by=ALICE)

    return make


def spelled(edit: Callable[[str], str]) -> Make:
    async def make(forger: Forger, claims: Claims) -> str:
        return edit(await forger.sign(claims, by=ALICE))

    return make


def unsigned(alg: str, signature: str) -> Make:
    async def make(forger: Forger, claims: Claims) -> str:
        token = await forger.sign(claims, by=ALICE, alg=alg)
        return f"{token.rpartition('.')[0]}.{signature}"

    return make


async def with_public_key_as_secret(forger: Forger, claims: Claims) -> str:
    data = (await forger.sign(claims, by=ALICE, alg="HS256")).rpartition(".")[0]
    secret = json.dumps(dict((await forger.signer(ALICE)).key.jwk)).encode()
    return f"{data}.{b64(hmac(secret, data.encode(), sha256))}"


async def with_two_algorithms(forger: Forger, claims: Claims) -> str:
    kid = (await forger.signer(ALICE)).key.kid
    header = f'{{"alg":"none","alg":"EdDSA","kid":"{kid}","typ":"{DELEGATION}"}}'
    return await forger.sign(claims, by=ALICE, header=header.encode())


def put(name: str, value: str) -> Make:
    """Write one claim's value as this text."""

    def edit(text: str) -> str:
        claims = json.loads(text)
        return json.dumps(claims | {name: "@@"}).replace('"@@"', value)

    return written(edit)


# Attack → how the root is made, and the code it is refused with.
TOKENS: dict[str, tuple[Make, str]] = {
    "01 none": (unsigned("none", "AAAA"), "jws.alg"),
    "01 None": (unsigned("None", "AAAA"), "jws.alg"),
    "01 NoNe": (unsigned("NoNe", "AAAA"), "jws.alg"),
    "01 none and no signature": (unsigned("none", ""), "jws.form"),
    "01 HS256 with the public key": (with_public_key_as_secret, "jws.alg"),
    "01 ES256 where EdDSA is configured": (headed(alg="ES256"), "jws.alg"),
    "02 kid a path": (headed(kid="../../etc/passwd"), "jws.kid"),
    "02 kid SQL": (headed(kid="x' OR '1'='1"), "jws.kid"),
    "02 kid unknown": (headed(kid="A" * 43), "principal.unknown-key"),
    "02 kid of 10 KB": (headed(kid="x" * 10_000), "jws.size"),
    "02 jwk": (headed(jwk={"kty": "OKP", "crv": "Ed25519", "x": "A" * 43}), "jws.header"),
    "02 x5c": (headed(x5c=["MIIB"]), "jws.header"),
    "03 crit": (headed(crit=["exp"], exp=1), "jws.header"),
    "03 crit unknown": (headed(crit=["urn:x"]), "jws.header"),
    "03 b64 false": (headed(b64=False, crit=["b64"]), "jws.header"),
    "03 zip": (headed(zip="DEF"), "jws.header"),
    "03 JSON serialization": (
        spelled(
            lambda text: json.dumps(dict(zip(("protected", "payload", "signature"), text.split("."), strict=True)))
        ),
        "jws.size",
    ),
    "03 JWE": (spelled(lambda text: f"{text}.AAAA.AAAA"), "jws.form"),
    "04 exp twice": (written(lambda text: text.replace("{", '{"exp":9999999999,', 1)), "jws.json-duplicate"),
    "04 exp twice by escape": (written(lambda text: text.replace("{", '{"e\\u0078p":9,', 1)), "jws.json-duplicate"),
    "04 alg twice": (with_two_algorithms, "jws.json-duplicate"),
    "04 exp NaN": (put("exp", "NaN"), "jws.json-number"),
    "04 exp 1e400": (put("exp", "1e400"), "jws.json-number"),
    "04 exp a string": (claiming(exp="9999999999"), "chain.time"),
    "04 exp a bool": (claiming(exp=True), "chain.time"),
    "04 exp a float": (claiming(exp=9999999999.0), "chain.time"),
    "04 exp absent": (claiming(exp=...), "chain.claims"),
    "05 nested 5,000 deep": (put("purpose", "[" * 5000), "jws.json-depth"),
    "05 5,000 digits": (put("exp", "9" * 5000), "jws.json-number"),
    "05 5,000 digits in a header": (headed(kid=10**4000), "jws.size"),
    "05 500 KB": (claiming(purpose="a" * 500_000), "jws.size"),
    "06 padding": (spelled(lambda text: f"{text}=="), "jws.form"),
    "06 padding inside": (spelled(lambda text: text.replace(".", "=.", 1)), "jws.form"),
    "06 newline": (spelled(lambda text: f"{text}\n"), "jws.form"),
    "06 four segments": (spelled(lambda text: f"{text}.AAAA"), "jws.form"),
    "06 junk": (spelled(lambda text: f"{text[:-4]}!!{text[-4:]}"), "jws.form"),
    "06 a second spelling": (spelled(lambda text: text[:-1] + chr(ord(text[-1]) + 1)), "jws.form"),
    "07 an approval": (headed(typ=APPROVAL), "jws.typ"),
    "07 a statement": (headed(typ=STATEMENT), "jws.typ"),
    "07 a presentation": (headed(typ=PRESENTATION), "jws.typ"),
    "07 a step token": (headed(typ=STEP_TYP), "jws.typ"),
    "07 an access token": (headed(typ=ACCESS_TYP), "jws.typ"),
    "07 any JWT": (headed(typ="JWT"), "jws.typ"),
    "08 Cyrillic a in an action": (claiming(authorization_details=grant(["reаd"])), "chain.claims"),
    "08 fullwidth space": (claiming(authorization_details=grant(spaces=["ｆlights"])), "chain.claims"),
    "08 zero width in a space": (claiming(authorization_details=grant(spaces=["fli\u200bghts"])), "chain.claims"),
    "08 another case of an action": (claiming(authorization_details=grant(["READ"])), "policy.denied"),
    "08 another case of a space": (claiming(authorization_details=grant(spaces=["FLIGHTS"])), "policy.denied"),
}


async def _opens_nothing(stack: Stack, settings: Settings, parts: Parts, forger: Forger, make: Make, code: str) -> None:
    task = await forger.store([await make(forger, await forger.root())])
    async with effects(stack, settings, parts) as seen:
        error = await refused(parts, task)
    assert error.code == code
    seen.refused(code)


def case(number: int) -> pytest.MarkDecorator:
    """Parametrise with the tokens of one case."""
    ours = {name[3:]: made for name, made in TOKENS.items() if name.startswith(f"{number:02}")}
    return pytest.mark.parametrize(("make", "code"), ours.values(), ids=ours)


@case(1)
async def test_01_the_algorithm_is_the_keys_and_never_the_tokens(
    stack: Stack, settings: Settings, parts: Parts, forger: Forger, make: Make, code: str
) -> None:
    await _opens_nothing(stack, settings, parts, forger, make, code)


@case(2)
async def test_02_a_header_names_no_key_of_its_own(
    stack: Stack, settings: Settings, parts: Parts, forger: Forger, make: Make, code: str
) -> None:
    await _opens_nothing(stack, settings, parts, forger, make, code)


@case(3)
async def test_03_a_document_has_one_form_and_no_extensions(
    stack: Stack, settings: Settings, parts: Parts, forger: Forger, make: Make, code: str
) -> None:
    await _opens_nothing(stack, settings, parts, forger, make, code)


@case(4)
async def test_04_a_claim_stands_once_and_has_its_type(
    stack: Stack, settings: Settings, parts: Parts, forger: Forger, make: Make, code: str
) -> None:
    await _opens_nothing(stack, settings, parts, forger, make, code)


@case(5)
async def test_05_what_is_deep_or_long_is_refused(
    stack: Stack, settings: Settings, parts: Parts, forger: Forger, make: Make, code: str
) -> None:
    await _opens_nothing(stack, settings, parts, forger, make, code)


@case(6)
async def test_06_a_document_has_one_spelling(
    stack: Stack, settings: Settings, parts: Parts, forger: Forger, make: Make, code: str
) -> None:
    await _opens_nothing(stack, settings, parts, forger, make, code)


@case(7)
async def test_07_no_other_document_is_a_delegation(
    stack: Stack, settings: Settings, parts: Parts, forger: Forger, make: Make, code: str
) -> None:
    await _opens_nothing(stack, settings, parts, forger, make, code)


@case(8)
async def test_08_look_alikes_are_not_delegated(
    stack: Stack, settings: Settings, parts: Parts, forger: Forger, make: Make, code: str
) -> None:
    await _opens_nothing(stack, settings, parts, forger, make, code)


async def test_the_root_that_is_not_hostile_opens_a_step(parts: Parts, forger: Forger) -> None:
    task = await forger.store([await forger.sign(await forger.root(), by=ALICE)])
    await parts.authority.release(await authorize(parts, task.attempt()), outcome="ok")


@pytest.mark.parametrize("name", ["jku", "x5u"])
async def test_02_nobody_is_called_for_a_key(
    stack: Stack, settings: Settings, parts: Parts, forger: Forger, listener: Listener, name: str
) -> None:
    root = await forger.sign(await forger.root(), by=ALICE, **{name: listener.url})
    task = await forger.store([root])
    async with effects(stack, settings, parts) as seen:
        assert (await refused(parts, task)).code == "jws.header"
        proof = await forger.sign({}, by="agent/flight-analyst", typ=PRESENTATION, **{name: listener.url})
        assert await presented(parts, await delegate(settings), proof) == "jws.header"
    seen.refused("jws.header", records=2)
    assert listener.calls == []


@pytest.mark.parametrize("kid", ["../../etc/passwd", "x' OR '1'='1", "..%2f..%2fsys", "keys/../principals/user/bob"])
async def test_02_a_kid_is_no_path(stack: Stack, parts: Parts, forger: Forger, kid: str) -> None:
    task = await forger.store([await forger.sign(await forger.root(), by=ALICE, kid=kid)])
    with asked(stack) as paths:
        await refused(parts, task)
    assert f"remit/data/delegations/{task.reference.delegation}" in paths
    assert not any("/keys/" in path or "/principals/" in path or kid in path for path in paths), paths


HUGE: dict[str, Callable[[str], str]] = {
    "10 MB": lambda _: "A" * 10_000_000,
    "10 MB of dots": lambda _: "." * 10_000_000,
    "10 MB of a valid beginning": lambda token: token + "A" * 10_000_000,
    "nested 5,000 deep": lambda token: f"{token.partition('.')[0]}.{b64(b'[' * 5000)}.AAAA",
    "5,000 digits": lambda token: f"{token.partition('.')[0]}.{b64(b'9' * 5000)}.AAAA",
}


@pytest.mark.parametrize("grow", HUGE.values(), ids=HUGE)
async def test_05_what_is_huge_is_refused_by_its_size(
    stack: Stack, settings: Settings, parts: Parts, forger: Forger, grow: Callable[[str], str]
) -> None:
    """No registry would hold it, so it comes as the proof of who presents."""
    task = await delegate(settings)
    proof = grow(await forger.sign({}, by="agent/flight-analyst", typ=PRESENTATION))
    async with effects(stack, settings, parts) as seen:
        code = await presented(parts, task, proof)
    assert code in ("jws.size", "jws.signature")
    seen.refused(code)
    key = (await forger.signer("agent/flight-analyst")).key
    correct = await forger.sign({"a": "x" * 900}, by="agent/flight-analyst", typ=PRESENTATION)
    assert quickest(lambda: verified(proof, key)) < 5 * quickest(lambda: verified(correct, key)) + 0.001


def verified(token: str, key: jose.PublicKey) -> None:
    with suppress(Refused):
        jose.verify(token, typ=PRESENTATION, key=key)


def quickest(call: Callable[[], object]) -> float:
    def timed() -> float:
        began = time.process_time()
        call()
        return time.process_time() - began

    return min(timed() for _ in range(20))


# Attack 7, the other ways round.
async def presented(parts: Parts, task: Task, proof: str) -> str:
    """Present a task with this proof; return the code it is refused with."""

    async def given() -> str:
        return proof

    with pytest.raises(Refused) as caught:
        await parts.authority.authorize(task.attempt(credential="flights-ro"), given())
    return caught.value.code


def proof_of(task: Task) -> Claims:
    attempt = task.attempt()
    now = int(time.time())
    return {
        "iss": principal("agent/flight-analyst").spiffe_id,
        "aud": "remit:remit.local",
        "jti": str(uuid.uuid4()),
        "iat": now,
        "exp": now + 60,
        "delegation": task.reference.delegation,
        "digest": task.reference.digest,
        "workflow": attempt.task,
        "run": attempt.run,
        "activity": attempt.activity,
        "attempt": attempt.attempt,
        "arguments": arguments_digest(attempt.call),
    }


@pytest.mark.parametrize("typ", [DELEGATION, APPROVAL, STATEMENT, STEP_TYP, ACCESS_TYP])
async def test_07_no_other_document_is_a_presentation(
    stack: Stack, settings: Settings, parts: Parts, forger: Forger, typ: str
) -> None:
    task = await delegate(settings)
    proof = await forger.sign(proof_of(task), by="agent/flight-analyst", typ=typ)
    async with effects(stack, settings, parts) as seen:
        assert await presented(parts, task, proof) == "jws.typ"
    seen.refused("jws.typ")


@pytest.mark.parametrize("typ", [DELEGATION, STATEMENT, PRESENTATION, STEP_TYP, ACCESS_TYP])
async def test_07_no_other_document_is_an_approval(
    stack: Stack, settings: Settings, parts: Parts, forger: Forger, typ: str
) -> None:
    task = await delegate(settings, agent="report-writer")
    with pytest.raises(NeedsApproval) as waiting:
        await authorize(parts, task.attempt(PUBLISH))
    request = waiting.value.request
    genuine = await approve(settings, request, by="bob")
    claims = jose.loads(jose._decode(genuine.split(".")[1]))
    token = await forger.sign(claims, by="user/bob", typ=typ)
    async with effects(stack, settings, parts) as seen:
        with pytest.raises(NeedsApproval) as still:
            await authorize(parts, task.attempt(PUBLISH, credential="reports-rw", approvals=(token,)))
        admission = await parts.authority.admit(
            token, request=request, reference=task.reference, namespace="default", task=task.id
        )
    assert [one["code"] for one in still.value.request["refused"]] == ["jws.typ"]
    assert (admission.accepted, admission.code) == (False, "jws.typ")
    seen.refused("approval.needed")
    await parts.authority.release(await authorize(parts, task.attempt(PUBLISH, approvals=(genuine,))), outcome="ok")


@pytest.mark.parametrize("typ", [DELEGATION, APPROVAL, PRESENTATION, STEP_TYP, ACCESS_TYP])
async def test_07_no_other_document_is_a_statement(settings: Settings, parts: Parts, forger: Forger, typ: str) -> None:
    """A statement of another type stops nobody, and one of the right type does."""
    task = await delegate(settings)
    statement = {
        "iss": principal(ALICE).spiffe_id,
        "aud": "remit:remit.local",
        "jti": str(uuid.uuid4()),
        "iat": int(time.time()),
        "sub_id": {"format": "jwt_id", "iss": principal(ALICE).spiffe_id, "jti": task.reference.delegation},
        "events": {"urn:remit:event:suspended": {}},
    }
    chain, _ = await parts.authority.describe(task.reference)
    for one in (typ, STATEMENT):
        token = await forger.sign(statement | {"jti": str(uuid.uuid4())}, by=ALICE, typ=one)
        await forger.registry.put_statement(subject_of(chain), str(uuid.uuid4()), token)
        if one == typ:
            await parts.authority.release(await authorize(parts, task.attempt()), outcome="ok")
    assert (await refused(parts, task)).code == "chain.suspended"


async def logged_in(parts: Parts, token: str) -> str:
    """Return ``in``, or the code with which OpenBao's step login refuses a token."""
    try:
        login = await parts.vault.step_login(token, role="flights-ro")
    except Refused as error:
        return error.code
    await parts.vault.as_token(login.token).write("auth/token/revoke-self")
    return "in"


def step_claims(**changes: Any) -> Claims:
    now = int(time.time())
    told = {
        "typ": "step",
        "iss": "spiffe://remit.local/authority",
        "aud": "openbao",
        "sub": str(uuid.uuid4()),
        "jti": str(uuid.uuid4()),
        "iat": now,
        "exp": now + 10,
        "root": str(uuid.uuid4()),
        "delegation": str(uuid.uuid4()),
        "chain": b64(bytes(32)),
        "principal": "alice",
        "act": {"sub": "spiffe://remit.local/agent/flight-analyst"},
        "task": "t",
        "step": "1",
        "attempt": "1",
        "dbrole": "flights-ro",
        **changes,
    }
    return {name: value for name, value in told.items() if value is not ...}


STEPS: dict[str, tuple[str, Claims, dict[str, Any], str]] = {
    "a step token": (STEP_KEY, step_claims(), {"typ": STEP_TYP}, "in"),
    "a head of the audit log": (STEP_KEY, step_claims(typ=...), {"typ": "audit-head+jwt"}, "vault.login"),
    "an access token": (TOKEN_KEY, step_claims(), {"typ": ACCESS_TYP}, "vault.login"),
    "a presentation": ("agent/flight-analyst", step_claims(), {"typ": PRESENTATION}, "vault.login"),
    "a delegation": (ALICE, step_claims(), {"typ": DELEGATION}, "vault.login"),
    "a statement": (STEP_KEY, step_claims(typ="secevent", exp=...), {"typ": STATEMENT}, "vault.login"),
    "a longer life": (STEP_KEY, step_claims(exp=int(time.time()) + 3600), {"typ": STEP_TYP}, "vault.login"),
    "another audience": (STEP_KEY, step_claims(aud="remit:remit.local"), {"typ": STEP_TYP}, "vault.login"),
    "alg none": (STEP_KEY, step_claims(), {"typ": STEP_TYP, "alg": "none"}, "vault.login"),
}


@pytest.mark.parametrize(("by", "claims", "header", "code"), STEPS.values(), ids=STEPS)
async def test_07_nothing_but_a_step_token_logs_a_step_in(
    stack: Stack, settings: Settings, parts: Parts, forger: Forger, by: str, claims: Claims, header: Any, code: str
) -> None:
    now = int(time.time())
    claims = claims | {"iat": now} | ({"exp": claims["exp"] - claims["iat"] + now} if "exp" in claims else {})
    async with effects(stack, settings, parts) as seen:
        assert await logged_in(parts, await forger.sign(claims, by=by, **header)) == code
    assert (seen.leases, seen.records) == ([], [])
    assert set(seen.minted) <= {"auth/remit-step/cel/login", "transit/sign/remit-token"}, "nothing was read"


async def test_07_an_access_token_is_one_by_its_key_and_its_type(forger: Forger) -> None:
    """The key set that services are given verifies access tokens with a stock library, and nothing else."""
    key = (await forger.signer(TOKEN_KEY)).key
    published = jwt.PyJWKSet.from_dict({"keys": [dict(key.jwk) | {"kid": key.kid, "alg": "ES256"}]})

    def accepted(token: str) -> bool:
        try:
            signed_by = published[jwt.get_unverified_header(token)["kid"]]
            jwt.decode(token, signed_by, audience="status-page", options={"require": ["exp"]})
        except (jwt.InvalidTokenError, KeyError):
            return False
        return jwt.get_unverified_header(token)["typ"] == ACCESS_TYP

    claims = {"aud": "status-page", "exp": int(time.time()) + 60}
    assert accepted(await forger.sign(claims, by=TOKEN_KEY, typ=ACCESS_TYP))
    for by in (STEP_KEY, ALICE, "agent/flight-analyst"):
        assert not accepted(await forger.sign(claims, by=by, typ=ACCESS_TYP))
        assert not accepted(await forger.sign(claims, by=by, typ=ACCESS_TYP, kid=key.kid))


@pytest.mark.parametrize(
    ("action", "resource"),
    [("dаtaset:query", "flights"), ("Dataset:query", "flights"), ("dataset:query\u200b", "flights"),
     ("dataset:query", "flіghts"), ("dataset:query", "FLIGHTS"), ("ｄataset:query", "flights")],
    ids=["Cyrillic action", "case of an action", "zero width", "Cyrillic resource", "case of a resource", "fullwidth"],
)  # fmt: skip
async def test_08_a_name_that_only_looks_alike_is_another(
    stack: Stack, settings: Settings, parts: Parts, action: str, resource: str
) -> None:
    task = await delegate(settings)
    async with effects(stack, settings, parts) as seen:
        error = await refused(parts, task, replace(READ, action=action, resource=resource))
    assert error.code == "policy.denied"
    seen.refused("policy.denied")


RECORDS: dict[str, Any] = {
    "nothing": {},
    "no text": {"jws": 7, "parent": None, "namespace": "default", "workflow_id": "t"},
    "a list": {"jws": ["a.b.c"], "parent": None, "namespace": "default", "workflow_id": "t"},
    "a parent that is a path": {"jws": "a.b.c", "parent": "../../sys/seal", "namespace": "default", "workflow_id": "t"},
    "a parent that is a list": {"jws": "a.b.c", "parent": ["x"], "namespace": "default", "workflow_id": "t"},
    "its own parent": {"jws": "a.b.c", "parent": "@", "namespace": "default", "workflow_id": "t"},
    "no claims": {"jws": f"{b64(b'{}')}.{b64(b'{}')}.AAAA", "parent": None, "namespace": "default"},
}


@pytest.mark.parametrize("record", RECORDS.values(), ids=RECORDS)
async def test_03_a_record_that_is_no_delegation_opens_nothing(
    stack: Stack, settings: Settings, parts: Parts, forger: Forger, record: Any
) -> None:
    """An agent may write any record of its own; it is refused for good, and people still see all delegations."""
    jti = str(uuid.uuid4())
    stored = {name: jti if value == "@" else value for name, value in record.items()}
    await forger.registry.documents.create(f"delegations/{jti}", stored)
    jws = stored.get("jws")
    digest = chain_digest([jws if isinstance(jws, str) else ""])
    task = Task(Reference(jti, digest), (), "t", str(uuid.uuid4()))
    async with effects(stack, settings, parts) as seen:
        error = await refused(parts, task)
    assert error.code in ("jws.form", "jws.header", "vault.name", "chain.digest", "chain.links")
    seen.refused(error.code)
    async with Remit.open(settings, person="alice") as alice:
        shown = {one["delegation"] for one in await alice.delegations()}
    assert jti in shown or stored.get("parent") == jti
