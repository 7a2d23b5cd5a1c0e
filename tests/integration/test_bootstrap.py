"""Bootstrap and what its policies really let everybody do, on the real OpenBao and PostgreSQL."""

from __future__ import annotations

import asyncio
import json
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import psycopg
import pytest

from remit import jose
from remit.bootstrap import WorkloadTrust
from remit.errors import Refused
from remit.presentation import step_token_claims
from remit.principals import Principal
from remit.registry import Registry
from remit.vault import JwtLogin, OidcLogin, Token, TransitSigner, UserpassLogin, Vault
from tests.integration.site import Site, connection_to, run_bootstrap, site

pytestmark = pytest.mark.servers


@pytest.fixture(scope="module")
async def made(openbao: Any, postgres: Any) -> AsyncIterator[Site]:
    async with site(openbao, postgres=postgres) as one:
        yield one


@pytest.fixture(scope="module", params=["openbao", "vault"])
async def either(request: pytest.FixtureRequest, openbao: Any, postgres: Any) -> AsyncIterator[Site]:
    async with site(openbao, postgres=postgres, profile=request.param) as one:
        yield one


async def forbidden(call: Any) -> None:
    with pytest.raises(Refused) as caught:
        await call
    assert caught.value.code == "vault.forbidden"


def claims_of(made: Site, role: str, **changed: Any) -> dict[str, Any]:
    domain = made.catalogue.trust_domain
    claims = step_token_claims(
        jti=str(uuid.uuid4()),
        issuer=f"spiffe://{domain}/authority",
        audience="openbao",
        now=int(time.time()),
        root=str(uuid.uuid4()),
        delegation=str(uuid.uuid4()),
        chain="c" * 43,
        human=Principal(domain, "user", "alice"),
        agent=Principal(domain, "agent", "flight-analyst"),
        task="task 1/ä",
        step=3,
        attempt=1,
        role=role,
    )
    return {name: value for name, value in {**claims, **changed}.items() if value is not None}


async def step_token(made: Site, role: str, **changed: Any) -> tuple[str, dict[str, Any]]:
    claims = claims_of(made, role, **changed)
    signer = await TransitSigner.open(made.authority, "remit-authority")
    return await jose.sign(claims, typ="step+jwt", signer=signer), claims


async def step_session(made: Site, role: str, **changed: Any) -> tuple[Vault, dict[str, Any]]:
    token, claims = await step_token(made, role, **changed)
    login = await made.admin.step_login(token, role=role)
    return made.admin.as_token(login.token), claims


async def test_a_second_run_writes_nothing(made: Site, postgres: Any) -> None:
    again = await run_bootstrap(made, postgres=postgres)
    assert again.changed == ()
    assert not again.passwords
    assert again.workload_key is None
    assert again.warnings == ()
    assert again.jwks["keys"][0]["alg"] == "ES256"


async def test_an_interrupted_run_is_completed(openbao: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    async with site(openbao, set_up=False) as one:
        writes = 0
        write = Vault.write

        async def failing(self: Vault, path: str, /, **data: Any) -> Any:
            nonlocal writes
            writes += 1
            if writes == 25:
                raise Refused("interrupted")
            return await write(self, path, **data)

        with monkeypatch.context() as patch:
            patch.setattr(Vault, "write", failing)
            with pytest.raises(Refused):
                await run_bootstrap(one)
        first = await run_bootstrap(one, reset=tuple(one.catalogue.people))
        assert first.changed
        assert set(first.passwords) == set(one.catalogue.people)
        assert (await run_bootstrap(one)).changed == ()
        one.passwords.update(first.passwords)
        assert await one.person("alice").entity_id()


async def test_what_was_changed_by_hand_is_put_right(made: Site, postgres: Any) -> None:
    await made.admin.write("sys/policies/acl/remit-agent", policy='path "*" { capabilities = ["sudo"] }')
    assert (await run_bootstrap(made, postgres=postgres)).changed == ("policy remit-agent",)


async def test_something_else_mounted_there_is_refused(openbao: Any) -> None:
    async with site(openbao, set_up=False) as one:
        await one.admin.write("sys/mounts/remit", type="kv", options={"version": "1"})
        with pytest.raises(Refused) as caught:
            await run_bootstrap(one)
        assert caught.value.code == "bootstrap.mount"


async def test_secrets_are_in_no_repr(openbao: Any) -> None:
    async with site(openbao, set_up=False) as one:
        result = await run_bootstrap(one, passwords={"alice": "correct-horse-battery"})
        assert result.passwords["alice"] == "correct-horse-battery"
        text = repr(result) + repr(UserpassLogin("alice", lambda: "x")) + repr(await one.admin.session())
        for secret in (*result.passwords.values(), result.workload_key.decode(), (await one.admin.session()).token):
            assert secret not in text


async def test_somebody_elses_issuer_can_vouch_for_workloads(openbao: Any) -> None:
    async with site(openbao, set_up=False) as one:
        ours = jose.LocalSigner.generate("EdDSA")
        from cryptography.hazmat.primitives import serialization

        private = serialization.load_pem_private_key(ours.to_pem(), None)
        public = private.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        result = await run_bootstrap(one, workload=WorkloadTrust("spiffe://elsewhere", (public.decode(),)))
        assert result.workload_key is None
        one.issuer = ours.to_pem()
        for issuer, accepted in (("spiffe://elsewhere", True), ("spiffe://remit.local", False)):
            login = JwtLogin("agent", lambda issuer=issuer: one.workload("agent/flight-analyst", iss=issuer))
            if accepted:
                assert await one.vault(login).entity_id()
            else:
                with pytest.raises(Refused) as caught:
                    await one.vault(login).entity_id()
                assert caught.value.code == "vault.login"


# Logins


async def test_each_identity_has_its_own_entity_and_key(made: Site) -> None:
    vaults = [made.person("alice"), made.person("bob"), made.agent("flight-analyst"), made.agent("report-writer")]
    signers = [await TransitSigner.open(vault) for vault in vaults]
    assert len({signer.key.kid for signer in signers}) == 4
    registry = Registry(made.admin)
    record = await registry.principal(Principal(made.catalogue.trust_domain, "user", "alice"))
    assert record is not None
    assert record.key == signers[0].key
    assert await registry.principal_by_kid(signers[2].key.kid) == await registry.principal(
        Principal(made.catalogue.trust_domain, "agent", "flight-analyst")
    )
    assert signers[0].key.verifies(await signers[0].sign(b"data"), b"data")


@pytest.mark.parametrize(
    ("path", "claims"),
    [
        ("agent/nobody", {}),
        ("user/alice", {}),
        ("authority", {}),
        ("agent/flight-analyst", {"aud": "elsewhere"}),
        ("agent/flight-analyst", {"iss": "spiffe://elsewhere"}),
        ("agent/flight-analyst", {"iat": 1, "exp": 61}),
        ("agent/flight-analyst/x", {}),
    ],
)
async def test_no_other_workload_logs_in_as_an_agent(made: Site, path: str, claims: dict[str, Any]) -> None:
    with pytest.raises(Refused) as caught:
        await made.vault(JwtLogin("agent", lambda: made.workload(path, **claims))).session()
    assert caught.value.code == "vault.login"


async def test_a_wrong_password_is_refused(made: Site) -> None:
    for name in ("alice", "nobody"):
        with pytest.raises(Refused) as caught:
            await made.vault(UserpassLogin(name, lambda: "wrong")).session()
        assert caught.value.code == "vault.login"


async def test_an_ended_session_is_logged_in_again_once(made: Site) -> None:
    vault = made.vault(UserpassLogin("alice", lambda: made.passwords["alice"]))
    first = await vault.session()
    await made.admin.write("auth/token/revoke-accessor", accessor=first.accessor)
    assert await vault.read("remit/data/epoch")
    second = await vault.session()
    assert second.token != first.token
    await forbidden(vault.read("remit-secrets/data/weather-api"))
    assert (await vault.session()).token == second.token  # a policy's no is no reason to log in again


async def test_people_log_in_with_openid_against_a_real_provider(openbao: Any) -> None:
    """OpenBao itself is the provider: what a browser would do, the test does."""
    async with site(openbao) as one:
        await _provider(one)
        provider = f"{one.server.address}/v1/{one.namespace}/identity/oidc/provider/people"
        client = (await one.admin.read("identity/oidc/client/remit"))["data"]  # type: ignore[index]
        from remit.bootstrap import OidcProvider

        settings = OidcProvider(
            discovery_url=provider,
            client_id=client["client_id"],
            client_secret=client["client_secret"],
            user_claim="person",
            redirect_uris=("http://localhost:28471/oidc/callback",),
            ca=_text(one.server.ca),
        )
        result = await run_bootstrap(one, oidc=settings)
        assert "alias user-alice on oidc" in result.changed
        assert (await run_bootstrap(one, oidc=settings)).changed == ()

        tasks: list[asyncio.Task[None]] = []

        def browser(address: str) -> None:
            tasks.append(asyncio.ensure_future(_browse(one, address)))

        vault = one.vault(OidcLogin(port=28471, show=browser, timeout=20))
        entity = await vault.entity_id()
        await asyncio.gather(*tasks)
        assert entity == await one.person("alice").entity_id()
        signer = await TransitSigner.open(vault)
        assert signer.key.verifies(await signer.sign(b"x"), b"x")


def _text(path: Path) -> str:
    return path.read_text()


async def _provider(one: Site) -> None:
    admin = one.admin
    await admin.write("identity/oidc/key/people", allowed_client_ids=["*"], algorithm="ES256")
    await admin.write("identity/oidc/assignment/all", entity_ids=[await one.person("alice").entity_id()])
    await admin.write(
        "identity/oidc/client/remit",
        redirect_uris=["http://localhost:28471/oidc/callback"],
        assignments=["all"],
        key="people",
    )
    template = '{"person": "alice"}'
    await admin.write("identity/oidc/scope/profile", template=template)
    await admin.write("identity/oidc/provider/people", allowed_client_ids=["*"], scopes_supported=["profile"])
    await admin.write(
        "sys/policies/acl/authorize",
        policy='path "identity/oidc/provider/people/authorize" { capabilities = ["read", "update"] }',
    )


async def _browse(one: Site, address: str) -> None:
    """Log in at the provider as alice and go where it sends the browser."""
    from urllib.parse import parse_qsl, urlsplit

    import httpx

    # The provider's own rights, which Remit's bootstrap would take away again.
    await one.admin.write("auth/userpass/users/alice/policies", token_policies=["authorize"])
    session = await one.vault(UserpassLogin("alice", lambda: one.passwords["alice"])).session()
    query = dict(parse_qsl(urlsplit(address).query))
    import ssl

    async with httpx.AsyncClient(verify=ssl.create_default_context(cafile=str(one.server.ca))) as client:
        # Something that is not this login's first: it must not disturb it.
        junk = await client.get("http://localhost:28471/oidc/callback?state=st_other&code=x")
        assert junk.status_code == 400
        answer = await client.get(
            f"{one.server.address}/v1/identity/oidc/provider/people/authorize",
            params=query,
            headers={"X-Vault-Token": session.token, "X-Vault-Namespace": one.namespace},
        )
        assert answer.status_code == 200, answer.text
        came = answer.json()
        done = await client.get(
            "http://localhost:28471/oidc/callback", params={"state": came["state"], "code": came["code"]}
        )
        assert done.status_code == 200


# What each identity may and may not do


async def test_nobody_signs_with_anybody_elses_key(made: Site) -> None:
    everybody = {
        "alice": made.person("alice"),
        "bob": made.person("bob"),
        "analyst": made.agent("flight-analyst"),
        "writer": made.agent("report-writer"),
    }
    keys = {name: await vault.entity_id() for name, vault in everybody.items()}
    for name, vault in (*everybody.items(), ("authority", made.authority)):
        for owner, key in (*keys.items(), ("step", "remit-authority"), ("token", "remit-token")):
            call = vault.write(f"transit/sign/{key}", input="aGk=")
            if name == owner or (name == "authority" and owner in ("step", "token")):
                assert await call
            else:
                await forbidden(call)
        await forbidden(vault.write(f"transit/sign/{keys.get(name, 'remit-token')}", input="aGk=", key_version=1))


async def test_nobody_but_the_operator_touches_keys(made: Site) -> None:
    for vault in (made.person("alice"), made.agent("flight-analyst"), made.authority):
        key = "remit-authority" if vault is made.authority else await vault.entity_id()
        await forbidden(vault.write(f"transit/keys/{key}/config", exportable=True))
        await forbidden(vault.write(f"transit/keys/{key}/rotate"))
        await forbidden(vault.read(f"transit/export/signing-key/{key}"))
        await forbidden(vault.write(f"transit/keys/{key}", type="ed25519"))


@pytest.mark.parametrize("who", ["alice", "flight-analyst", "authority"])
async def test_records_are_written_once_and_never_removed(made: Site, who: str) -> None:
    vault = {"alice": made.person("alice"), "flight-analyst": made.agent("flight-analyst")}.get(who, made.authority)
    path = f"delegations/{uuid.uuid4()}"
    await vault.write(f"remit/data/{path}", data={"jws": "first"}, options={"cas": 0})
    await forbidden(vault.write(f"remit/data/{path}", data={"jws": "second"}))
    await forbidden(vault.write(f"remit/data/{path}", data={"jws": "second"}, options={"cas": 1}))
    await forbidden(vault.delete(f"remit/data/{path}"))
    await forbidden(vault.delete(f"remit/metadata/{path}"))
    await forbidden(vault.write(f"remit/metadata/{path}", delete_version_after="1s"))
    await forbidden(vault.write(f"remit/metadata/{path}", max_versions=1))
    await forbidden(vault.write(f"remit/delete/{path}", versions=[1]))
    await forbidden(vault.write(f"remit/undelete/{path}", versions=[1]))
    await forbidden(vault.write(f"remit/destroy/{path}", versions=[1]))
    await forbidden(vault.write("remit/config", delete_version_after="1s"))
    answer = await vault.read(f"remit/data/{path}")
    assert answer is not None
    assert answer["data"]["data"] == {"jws": "first"}
    assert answer["data"]["metadata"]["version"] == 1


async def test_who_writes_what_in_the_registry(made: Site) -> None:
    some = str(uuid.uuid4())
    allowed = {
        "alice": {f"delegations/{some}-a", f"statements/user/bob/{some}", "epoch"},
        "flight-analyst": {f"delegations/{some}-b"},
        "authority": {
            f"delegations/{some}-c",
            f"approvals/{some}",
            f"runs/{some}",
            f"budget/{some}",
            f"confirmed/{some}",
            f"once/{some}",
            "epoch",
        },
    }
    paths = set().union(*allowed.values()) | {"principals/user/alice", "keys/abc", "principals/user/mallory"}
    sessions = {"alice": made.person("alice"), "flight-analyst": made.agent("flight-analyst")}
    for who, mine in allowed.items():
        vault = sessions.get(who, made.authority)
        for path in mine:
            assert await vault.write(f"remit/data/{path}", data={"by": who})
        for path in {path for path in paths - mine if not path.startswith("delegations/")}:
            await forbidden(vault.write(f"remit/data/{path}", data={"by": who}))


async def test_the_authority_locks_out_and_changes_nothing_else_of_an_identity(made: Site) -> None:
    entity = await made.agent("flight-analyst").entity_id()
    path = f"identity/entity/id/{entity}"
    for change in (
        {"policies": ["remit-authority"]},
        {"disabled": True, "policies": []},
        {"name": "x"},
        {"metadata": {}},
    ):
        await forbidden(made.authority.write(path, **change))
    for session in (made.person("alice"), made.agent("flight-analyst")):
        await forbidden(session.write(path, disabled=True))
        await forbidden(session.delete(f"transit/keys/{entity}/soft-delete"))
    await forbidden(made.authority.delete(path))
    await forbidden(made.authority.delete(f"transit/keys/{entity}"))
    await forbidden(made.authority.write(f"transit/keys/{entity}/config", deletion_allowed=True))


async def test_nobody_mints_but_a_step(made: Site) -> None:
    for vault in (made.person("alice"), made.agent("flight-analyst"), made.authority):
        await forbidden(vault.read("database/creds/flights-ro"))
        await forbidden(vault.read("remit-secrets/data/weather-api"))
        await forbidden(vault.read("database/config/remit"))
        await forbidden(vault.write("auth/token/create", policies=["step-flights-ro"]))
        await forbidden(vault.write("auth/token/create-orphan", policies=["step-flights-ro"]))
        await forbidden(vault.read("sys/policies/acl/remit-authority"))
        await forbidden(vault.write("sys/policies/acl/remit-person", policy=""))
        await forbidden(vault.write("identity/entity", name="user-alice", policies=["remit-authority"]))
        await forbidden(vault.write("auth/userpass/users/bob/password", password="mine"))
        await forbidden(vault.write("auth/remit-step/config", jwt_validation_pubkeys=["x"]))
        await forbidden(vault.list("sys/leases/lookup/database/creds"))


# Steps


async def test_a_step_reads_its_one_path_and_nothing_else(either: Site) -> None:
    session, _ = await step_session(either, "weather-api")
    answer = await session.read("remit-secrets/data/weather-api")
    assert answer is not None
    assert answer["data"]["data"] == {"api_key": "weather-secret"}
    for path in ("database/creds/flights-ro", "remit/data/epoch", "remit-secrets/data/other", "remit-live/leases"):
        await forbidden(session.read(path))
    await forbidden(session.write("sys/leases/renew", lease_id="database/creds/flights-ro/abc"))
    await session.write("auth/token/revoke-self")
    await forbidden(session.read("remit-secrets/data/weather-api"))


async def test_a_login_says_for_whom_it_is_and_how_long(either: Site) -> None:
    session, claims = await step_session(either, "flights-ro")
    answer = await session.read("auth/token/lookup-self")
    assert answer is not None
    data = answer["data"]
    assert data["policies"] == ["step-flights-ro"]
    assert 50 <= data["ttl"] <= 60
    assert data["explicit_max_ttl"] == either.catalogue.credentials["flights-ro"].ttl
    named = {name: claims[name] for name in ("chain", "root", "delegation", "task", "step", "attempt", "principal")}
    assert {name: data["meta"][name] for name in named} == named
    assert data["meta"]["actor"] == claims["act"]["sub"]
    renewed = await session.write("auth/token/renew-self", increment=60)
    assert renewed is not None
    assert 50 <= renewed["auth"]["lease_duration"] <= 60


REFUSED: dict[str, dict[str, Any]] = {
    "another role": {"dbrole": "root"},
    "a role that is a path": {"dbrole": "flights-ro/../../admin"},
    "another audience": {"aud": "elsewhere"},
    "another issuer": {"iss": "spiffe://elsewhere/authority"},
    "another type": {"typ": "JWT"},
    "no type": {"typ": None},
    "no delegation": {"delegation": None},
    "no root": {"root": None},
}


@pytest.mark.parametrize("name", REFUSED)
async def test_a_step_token_that_is_not_right_opens_nothing(either: Site, name: str) -> None:
    token, _ = await step_token(either, "flights-ro", **REFUSED[name])
    native_without = either.admin.profile == "vault" and name == "no delegation"
    if native_without:  # there it is only for the audit log
        return
    with pytest.raises(Refused) as caught:
        await either.admin.step_login(token, role="flights-ro")
    assert caught.value.code == "vault.login"


async def test_nobody_else_signs_step_tokens(either: Site) -> None:
    signer = await TransitSigner.open(either.person("alice"))
    mine = await jose.sign(claims_of(either, "flights-ro"), typ="step+jwt", signer=signer)
    other = await TransitSigner.open(either.authority, "remit-token")
    theirs = await jose.sign(claims_of(either, "flights-ro"), typ="step+jwt", signer=other)
    for token in (mine, theirs, "a.b.c", ""):
        with pytest.raises(Refused) as caught:
            await either.admin.step_login(token, role="flights-ro")
        assert caught.value.code == "vault.login"


async def test_expiry_is_exact(made: Site) -> None:
    now = int(time.time())
    for exp, iat in ((now, now - 5), (now - 1, now - 6), (now + 11, now), (now + 3600, now)):
        token, _ = await step_token(made, "flights-ro", exp=exp, iat=iat)
        with pytest.raises(Refused) as caught:
            await made.admin.step_login(token, role="flights-ro")
        assert caught.value.code == "vault.login"
    token, claims = await step_token(made, "flights-ro", exp=int(time.time()) + 2)
    assert await made.admin.step_login(token, role="flights-ro")
    await asyncio.sleep(claims["exp"] - time.time() + 0.01)
    with pytest.raises(Refused):
        await made.admin.step_login(token, role="flights-ro")


async def test_the_portable_roles_forgive_five_seconds(openbao: Any) -> None:
    async with site(openbao, profile="vault") as one:
        now = int(time.time())
        late, _ = await step_token(one, "weather-api", exp=now - 7, iat=now - 12)
        with pytest.raises(Refused):
            await one.admin.step_login(late, role="weather-api")
        wrong, _ = await step_token(one, "weather-api")
        with pytest.raises(Refused):
            await one.admin.step_login(wrong, role="flights-ro")


# Database users


async def minted(made: Site, role: str) -> tuple[Vault, dict[str, Any], dict[str, Any]]:
    session, claims = await step_session(made, role)
    answer = await session.read(f"database/creds/{role}")
    assert answer is not None
    return session, answer, claims


def log_in(postgres: Any, answer: dict[str, Any]) -> psycopg.Connection:
    data = answer["data"]
    return psycopg.connect(
        f"{postgres.dsn} user={data['username']} password={data['password']}", autocommit=True, connect_timeout=5
    )


async def test_a_minted_user_is_named_after_its_step_and_dies_with_its_lease(either: Site, postgres: Any) -> None:
    _, answer, claims = await minted(either, "flights-ro")
    user = answer["data"]["username"]
    if either.admin.profile == "openbao":
        assert user.startswith(f"d-{claims['delegation']}-{claims['step']}-")
    else:
        assert user.startswith(f"d-{claims['root']}-")
    assert len(user) <= 63
    assert 50 <= answer["lease_duration"] <= 60
    with log_in(postgres, answer) as connection:
        assert connection.execute("SELECT count(*) FROM flights").fetchone()
        for statement in ("SELECT * FROM hr.payroll", "CREATE TABLE reports.x (a int)", "DELETE FROM flights"):
            with pytest.raises(psycopg.errors.InsufficientPrivilege):
                connection.execute(statement)
        began = time.perf_counter()
        await either.person("carol").write(f"sys/leases/revoke/{answer['lease_id']}", sync=True)
        with pytest.raises(psycopg.OperationalError):
            connection.execute("SELECT 1")
        assert time.perf_counter() - began < 20
    with pytest.raises(psycopg.OperationalError):
        log_in(postgres, answer)
    with postgres.connect() as admin:
        assert admin.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [user]).fetchone() is None


async def test_no_session_opened_while_its_user_is_ended_may_do_anything(made: Site, postgres: Any) -> None:
    for _ in range(6):
        _, answer, _ = await minted(made, "flights-ro")
        sessions: list[psycopg.Connection] = []

        def keep_coming(answer: dict[str, Any] = answer, sessions: list[psycopg.Connection] = sessions) -> None:
            while True:
                try:
                    sessions.append(log_in(postgres, answer))
                except psycopg.OperationalError as error:
                    if "too many connections" not in str(error):
                        return

        comers = [asyncio.create_task(asyncio.to_thread(keep_coming)) for _ in range(3)]
        while not sessions:  # noqa: ASYNC110 - another thread fills it
            await asyncio.sleep(0.005)
        await made.person("carol").write(f"sys/leases/revoke/{answer['lease_id']}", sync=True)
        await asyncio.gather(*comers)
        for session in sessions:
            # Ended; or, of those that were just logging in, one without a role: no schema is open to it.
            with pytest.raises((psycopg.OperationalError, psycopg.ProgrammingError)):
                session.execute("SELECT count(*) FROM public.flights")
            session.close()


async def test_people_end_a_login_by_its_accessor_and_its_user_with_it(made: Site, postgres: Any) -> None:
    token, _ = await step_token(made, "reports-rw")
    login = await made.admin.step_login(token, role="reports-rw")
    session = made.admin.as_token(login.token)
    answer = await session.read("database/creds/reports-rw")
    assert answer is not None
    connection = log_in(postgres, answer)
    connection.execute("CREATE TABLE reports.made_by_a_step (a int)")
    await made.person("alice").write("auth/token/revoke-accessor", accessor=login.accessor)
    await forbidden(session.read("database/creds/reports-rw"))
    for _ in range(100):
        with postgres.connect() as admin:
            if not admin.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [answer["data"]["username"]]).fetchone():
                break
        await asyncio.sleep(0.05)
    with pytest.raises(psycopg.OperationalError):
        connection.execute("SELECT 1")
    connection.close()
    with postgres.connect() as admin:
        owner = admin.execute("SELECT tableowner FROM pg_tables WHERE tablename = 'made_by_a_step'").fetchone()
        assert owner == ("app_rw",)
        admin.execute("DROP TABLE reports.made_by_a_step")


async def test_a_step_renews_its_own_lease_only(either: Site, postgres: Any) -> None:
    session, answer, _ = await minted(either, "flights-ro")
    other, wider, _ = await minted(either, "reports-rw")
    renewed = await session.write("sys/leases/renew", lease_id=answer["lease_id"], increment=60)
    assert renewed is not None
    assert 50 <= renewed["lease_duration"] <= 60
    await forbidden(session.write("sys/leases/renew", lease_id=wider["lease_id"], increment=60))
    await forbidden(session.write(f"sys/leases/revoke/{wider['lease_id']}"))
    for one in (session, other):
        await one.write("auth/token/revoke-self")


async def test_the_users_name_is_readable_in_the_audit_log(made: Site, openbao: Any, postgres: Any) -> None:
    session, answer, claims = await minted(made, "flights-ro")
    log = next(path for path in Path(openbao.ca).parents[1].rglob("*audit*.log"))
    entries = [json.loads(line) for line in log.read_text().splitlines() if answer["data"]["username"] in line]
    assert entries
    assert any(entry["auth"]["metadata"]["root"] == claims["root"] for entry in entries if entry.get("auth"))
    assert answer["data"]["password"] not in log.read_text()
    await session.write("auth/token/revoke-self")


async def test_a_rotated_manager_password_survives_bootstrap(openbao: Any, postgres: Any) -> None:
    async with site(openbao) as one:
        from dataclasses import replace

        with postgres.connect(autocommit=True) as admin:
            admin.execute("DROP ROLE IF EXISTS bao_rotated")
            admin.execute("CREATE ROLE bao_rotated LOGIN CREATEROLE PASSWORD 'first-password'")
            admin.execute("GRANT app_ro, app_rw TO bao_rotated WITH ADMIN OPTION")
            admin.execute("GRANT CONNECT ON DATABASE flights TO bao_rotated")
        connection = replace(connection_to(postgres), manager="bao_rotated", password="first-password")
        await run_bootstrap(one, databases=[connection])
        await one.admin.write("database/rotate-root/remit")
        assert (await run_bootstrap(one, databases=[connection])).changed == ()
        session, _ = await step_session(one, "flights-ro")
        assert await session.read("database/creds/flights-ro")
        await session.write("auth/token/revoke-self")


async def test_without_bootstrap_there_is_one_clear_line(openbao: Any) -> None:
    async with site(openbao, set_up=False) as one:
        with pytest.raises(Refused) as caught:
            await one.vault(UserpassLogin("alice", lambda: "x")).session()
        assert caught.value.code == "vault.login"
        assert "\n" not in caught.value.message
        assert Token("t") == Token("t")
