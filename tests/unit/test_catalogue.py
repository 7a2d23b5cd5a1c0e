from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from remit.catalogue import Catalogue, nearest
from remit.duration import seconds
from remit.errors import Usage

REAL = Path(__file__).parents[2] / "policies" / "catalogue.yaml"
SMALL = """
trust_domain: remit.local
tenant: acme
roles: [analyst, team]
people: {alice: {roles: [team]}}
agents: {reader: {roles: [analyst], clearance: 2}}
spaces: {flights: {}}
datasets: {flights: {space: flights, classification: 1, purposes: ["*"], members: team}}
services:
  page: {space: flights, classification: 0, purposes: [review], members: team,
         url: "http://127.0.0.1:1/x", audience: page}
credentials:
  ro: {kind: postgres, path: database/creds/ro, role: ro, ttl: 5m}
  bearer: {kind: token}
"""


def refused(text: str) -> str:
    with pytest.raises(Usage) as caught:
        Catalogue.parse(text)
    assert caught.value.code == "catalogue.invalid"
    assert caught.value.exit_status == 2
    assert "\n" not in caught.value.message
    return caught.value.message


def test_the_projects_own_catalogue() -> None:
    real = Catalogue.load(REAL)
    assert {"alice", "bob", "carol"} == set(real.people)
    assert {"flight-analyst", "report-writer", "delay-desk"} == set(real.agents)
    assert {name: real.datasets[name].space for name in real.datasets} == {
        "flights": "flights",
        "reports": "flights",
        "payroll": "hr",
    }
    assert "data-steward" in real.people["bob"].roles
    assert "data-steward" not in real.people["alice"].roles


def test_profiles_know_their_names_and_lifetimes() -> None:
    small = Catalogue.parse(SMALL)
    assert small.credential("ro").name == "ro"
    assert small.credential("ro").ttl == 300
    assert small.credential("bearer").audience is None


def test_a_dumped_catalogue_reads_back_the_same() -> None:
    real = Catalogue.load(REAL)
    assert Catalogue.parse(yaml.safe_dump(real.model_dump(mode="json"))) == real


@pytest.mark.parametrize(
    ("old", "new", "said"),
    [
        ("clearance: 2", "clearence: 2", "unknown key 'agents.reader.clearence' (did you mean 'clearance'?)"),
        ("people:", "peple:", "unknown key 'peple' (did you mean 'people'?)"),
        ("ttl: 5m", "tll: 5m", "unknown key 'credentials.ro.tll' (did you mean 'ttl'?)"),
        ("tenant: acme", "", "tenant is missing"),
        ("{roles: [team]}", "{roles: [teams]}", "people.alice: there is no role 'teams' (did you mean 'team'?)"),
        ("{space: flights, classification: 1", "{space: flight, classification: 1", "there is no space 'flight'"),
        ("members: team}", "members: crew}", "datasets.flights: there is no role 'crew'"),
        ("clearance: 2", "clearance: 4", "agents.reader.clearance"),
        ("clearance: 2", "clearance: true", "agents.reader.clearance"),
        ("clearance: 2", "clearance: '2'", "agents.reader.clearance"),
        ('purposes: ["*"]', "purposes: []", "datasets.flights.purposes"),
        ('purposes: ["*"]', 'purposes: ["Any One"]', "datasets.flights.purposes"),
        ("alice:", "../alice:", "is not a principal's name"),
        ("alice:", "Аlice:", "is not a principal's name"),
        ("ttl: 5m", "ttl: 5 minutes", "is not a span of time"),
        ("ttl: 5m", "ttl: 0", "credentials.ro.ttl"),
        ("ttl: 5m", "ttl: true", "is not a span of time"),
        ("database/creds/ro", "../sys/creds/ro", "is not an OpenBao path"),
        ("database/creds/ro", "database/roles/ro", "its path must be <mount>/creds/<role>"),
        ("kind: postgres, path: database/creds/ro", "kind: postgres", "needs a path and a role"),
        ("{kind: token}", "{kind: token, path: a/creds/b}", "a token has no path"),
        ("kind: postgres,", "kind: postgres, audience: page,", "only a token has an audience"),
        ("  page: {", "  flights: {", "'flights' names two resources"),
        ("roles: [analyst, team]", "roles: [analyst, team]\nroles: [team]", "the key 'roles' is there twice"),
        ("spaces: {flights: {}}", "spaces: {flights: {}, flights: {}}", "the key 'flights' is there twice"),
        ("spaces: {flights: {}}", "spaces: {1: {}, flights: {}}", "a key must be text"),
        ("tenant: acme", "tenant: !!python/object:os.system {}", "could not determine a constructor"),
        ("people: {", "people: [", "is not a valid catalogue"),
    ],
)
def test_what_is_wrong_is_named(old: str, new: str, said: str) -> None:
    assert old in SMALL
    assert said in refused(SMALL.replace(old, new, 1))


@pytest.mark.parametrize(
    "url",
    [
        "ftp://127.0.0.1/x",
        "http:///x",
        "http://user:secret@127.0.0.1/",
        "http://127.0.0.1/x?y=1",
        "http://127.0.0.1/#x",
        "http://127.0.0.1/a/../b",
        "http://127.0.0.1:99999/",
        "http://127.0.0.1:0/",
        "//127.0.0.1/",
    ],
)
def test_an_address_is_a_plain_base_address(url: str) -> None:
    assert "services.page.url" in refused(SMALL.replace("http://127.0.0.1:1/x", url))


def test_everything_wrong_is_told_at_once() -> None:
    message = refused(SMALL.replace("clearance: 2", "clearence: 2").replace("ttl: 5m", "ttl: soon"))
    assert "clearence" in message
    assert "soon" in message


def test_services_can_be_elsewhere() -> None:
    small = Catalogue.parse(SMALL)
    moved = small.located({"page": "http://127.0.0.1:2/y"})
    assert moved.service("page").url == "http://127.0.0.1:2/y"
    assert small.service("page").url == "http://127.0.0.1:1/x"
    assert moved.model_copy(update={"services": small.services}) == small


def test_an_unknown_service_cannot_be_moved() -> None:
    with pytest.raises(Usage, match="there is no service 'pages'") as caught:
        Catalogue.parse(SMALL).located({"pages": "http://127.0.0.1:2"})
    assert caught.value.next_action == "Did you mean 'page'?"


def test_a_service_cannot_be_moved_to_a_wrong_address() -> None:
    with pytest.raises(Usage) as caught:
        Catalogue.parse(SMALL).located({"page": "file:///etc/passwd"})
    assert caught.value.code == "catalogue.invalid"


@pytest.mark.parametrize("look", ["person", "agent", "space", "service", "credential"])
def test_an_unknown_name_is_told_with_what_there_is(look: str) -> None:
    with pytest.raises(Usage) as caught:
        getattr(Catalogue.parse(SMALL), look)("zzz")
    assert caught.value.code == "catalogue.unknown"
    assert caught.value.next_action.startswith("There are: ")


def test_a_principal_by_its_short_name() -> None:
    small = Catalogue.parse(SMALL)
    assert small.principal("user/alice").spiffe_id == "spiffe://remit.local/user/alice"
    assert small.principal("agent/reader").spiffe_id == "spiffe://remit.local/agent/reader"


@pytest.mark.parametrize("short", ["alice", "user/reader", "agent/alice", "role/team", "", "user/", "user/alice/x"])
def test_what_names_no_principal(short: str) -> None:
    with pytest.raises(Usage) as caught:
        Catalogue.parse(SMALL).principal(short)
    assert caught.value.code == "catalogue.unknown"


def test_a_missing_file(tmp_path: Path) -> None:
    with pytest.raises(Usage, match="cannot be read"):
        Catalogue.load(tmp_path / "catalogue.yaml")


@pytest.mark.parametrize(("text", "value"), [("30s", 30), ("5m", 300), ("1h30m", 5400), ("2d", 172_800)])
def test_spans_of_time(text: str, value: int) -> None:
    assert seconds(text) == value


@pytest.mark.parametrize("text", ["", "5", "m", "5w", "-5m", "5m ", "٥m", "1.5h", 5, None])
def test_what_is_no_span_of_time(text: object) -> None:
    with pytest.raises(ValueError, match="is not a span of time"):
        seconds(text)


def test_nearest() -> None:
    assert nearest("reed", {"read", "write"}) == "read"
    assert nearest("zzz", {"read", "write"}) is None
