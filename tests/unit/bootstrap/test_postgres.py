"""The SQL that makes and ends minted users."""

from __future__ import annotations

import pytest

from remit.bootstrap.postgres import REVOCATION, creation, username_template


def test_a_user_gets_its_rights_from_one_role_and_can_be_ended_by_its_maker() -> None:
    (statement,) = creation(group="app_ro", manager="bao_min")
    assert 'IN ROLE "app_ro"' in statement
    assert 'GRANT "{{name}}" TO "bao_min"' in statement
    assert "VALID UNTIL '{{expiration}}'" in statement
    assert "CONNECTION LIMIT 8" in statement


@pytest.mark.parametrize("name", ['x"; DROP ROLE y; --', "", "a b", "ä", "a" * 64, "{{name}}"])
def test_no_other_sql_gets_in_by_a_roles_name(name: str) -> None:
    for group, manager in ((name, "bao_min"), ("app_ro", name)):
        with pytest.raises(ValueError, match="role"):
            creation(group=group, manager=manager)


def test_a_user_is_shut_out_for_good_before_its_sessions_are_ended_and_ended_again_before_it_goes() -> None:
    shut, commit, end, drop = REVOCATION
    assert "NOLOGIN" in shut
    assert commit == "COMMIT"
    assert "pg_terminate_backend" in end
    assert drop.index("REASSIGN") < drop.index("pg_terminate_backend") < drop.index("DROP ROLE")
    assert all("{{name}}" in statement for statement in (shut, end, drop))
    assert "{{{" not in "".join(REVOCATION)


def test_a_name_begins_with_what_the_login_was_called() -> None:
    assert 'replace "remit-step-" ""' in username_template(None)
    assert 'replace "team-a-auth-remit-step-" ""' in username_template("team/a/")
    step, reaper = '{{ printf "d-%s-%s"', '{{ if eq .RoleName "sweep" }}{{ printf "sweep-%s" (random 12) }}{{ else }}'
    assert username_template(None).startswith(reaper + step)
