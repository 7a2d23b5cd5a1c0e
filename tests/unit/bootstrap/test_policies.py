"""The OpenBao policies made of the policy folder and the catalogue."""

from __future__ import annotations

from pathlib import Path

import pytest

from remit.bootstrap import policies
from remit.catalogue import Catalogue
from remit.errors import Usage

FOLDER = Path(__file__).parents[3] / "policies"


@pytest.fixture
def catalogue() -> Catalogue:
    return Catalogue.load(FOLDER / "catalogue.yaml")


def changed(catalogue: Catalogue, **credentials: object) -> Catalogue:
    plain = catalogue.model_dump()
    plain["credentials"] |= credentials
    return Catalogue.model_validate(plain)


def test_one_policy_for_each_role_and_the_service_s_own(catalogue: Catalogue) -> None:
    texts = policies.texts(FOLDER, catalogue)
    assert set(texts) == {
        "remit-authority",
        "remit-person",
        "remit-reader",
        "remit-agent",
        "remit-revoke",
        "remit-reap",
        "step-flights-ro",
        "step-model-key",
        "step-reports-rw",
        "step-weather-api",
    }
    assert 'path "database/creds/flights-ro" {' in texts["step-flights-ro"]
    assert '"database/creds/flights-ro/*"' in texts["step-flights-ro"]
    assert "${" not in "".join(texts.values())


def test_every_mount_that_mints_can_be_revoked_at(catalogue: Catalogue) -> None:
    engine = {"name": "cloud", "kind": "engine", "path": "cloud/creds/reader", "role": "cloud", "ttl": 60}
    text = policies.texts(FOLDER, changed(catalogue, cloud=engine))["remit-revoke"]
    assert text.count("auth/token/revoke-accessor") == 1
    assert 'path "sys/leases/revoke/cloud/creds/*"' in text
    assert 'path "sys/leases/revoke/database/creds/*"' in text


def test_the_reaper_sees_the_leases_of_the_catalogue_and_reads_its_own_user(catalogue: Catalogue) -> None:
    engine = {"name": "cloud", "kind": "engine", "path": "cloud/creds/reader", "role": "cloud", "ttl": 60}
    text = policies.texts(FOLDER, changed(catalogue, cloud=engine))["remit-reap"]
    minting = ["cloud/creds/reader", "database/creds/flights-ro", "database/creds/reports-rw", "database/creds/sweep"]
    assert [line for line in text.splitlines() if "lookup/" in line] == [
        f'path "sys/leases/lookup/{path}/*" {{ capabilities = ["list", "sudo"] }}' for path in minting
    ]
    assert [line for line in text.splitlines() if line.startswith('path "database')] == [
        'path "database/creds/sweep" { capabilities = ["read"] }'
    ]
    assert "cloud/creds/sweep" not in text


def test_nobody_elses_step_may_be_the_reaper(catalogue: Catalogue) -> None:
    other = {"name": "x", "kind": "postgres", "path": "database/creds/sweep", "role": "x", "ttl": 60}
    with pytest.raises(Usage) as caught:
        policies.texts(FOLDER, changed(catalogue, x=other))
    assert caught.value.code == "bootstrap.policy"


def test_no_policy_of_people_agents_or_the_authority_reads_what_mints(catalogue: Catalogue) -> None:
    texts = policies.texts(FOLDER, catalogue)
    for name in ("remit-authority", "remit-person", "remit-agent"):
        for path in ("/creds/", "remit-secrets", "auth/token/create", "sys/policies", 'identity/entity"'):
            assert path not in texts[name]


def test_a_role_stands_for_one_path(catalogue: Catalogue) -> None:
    other = {"name": "x", "kind": "postgres", "path": "database/creds/other", "role": "flights-ro", "ttl": 60}
    with pytest.raises(Usage) as caught:
        policies.texts(FOLDER, changed(catalogue, x=other))
    assert caught.value.code == "bootstrap.policy"


def test_the_longest_profile_of_a_role_decides_how_long_it_may_live(catalogue: Catalogue) -> None:
    longer = {**catalogue.credentials["flights-ro"].model_dump(), "name": "x", "ttl": 9 * 3600}
    assert policies.step_seconds(changed(catalogue, x=longer))["flights-ro"] == 9 * 3600
    assert "service-token" not in policies.step_seconds(catalogue)


def test_a_missing_folder_is_one_clear_line(catalogue: Catalogue, tmp_path: Path) -> None:
    with pytest.raises(Usage) as caught:
        policies.texts(tmp_path, catalogue)
    assert caught.value.code == "bootstrap.policy"
    assert "\n" not in caught.value.message
