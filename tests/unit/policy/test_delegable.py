from __future__ import annotations

from pathlib import Path

import pytest

from remit.catalogue import Catalogue
from remit.errors import Refused
from remit.policy import PolicyEngine
from tests.policies.questions import POLICIES
from tests.unit.policy.folders import folder

ENGINE = PolicyEngine.load(POLICIES)


def refused(engine: PolicyEngine, *names: str) -> Refused:
    with pytest.raises(Refused) as caught:
        engine.delegable(names)
    assert caught.value.code == "delegation.action"
    assert caught.value.exit_status == 1
    return caught.value


@pytest.mark.parametrize(
    "name", ["read", "write", "egress", "spend", "dataset:query", "report:publish", "model:invoke"]
)
def test_actions_and_groups_an_agent_could_be_permitted(name: str) -> None:
    ENGINE.delegable([name])


@pytest.mark.parametrize(
    ("name", "message", "hint"),
    [
        ("tool", "'tool' would delegate everything", "Actions are: "),
        ("dataset:delete", "no policy permits an agent 'dataset:delete'", "Did you mean 'dataset:export'?"),
        ("reads", "there is no action 'reads'", "Did you mean 'read'?"),
        ("dataset:qurey", "there is no action 'dataset:qurey'", "Did you mean 'dataset:query'?"),
        ("sql.query", "there is no action 'sql.query'", "Did you mean 'dataset:query'?"),
        ("submit", "'submit' is not something a tool does", "Actions are: "),
        ("READ", "there is no action 'READ'", "Actions are: "),
        ("*", "there is no action '*'", "Actions are: "),
        ("", "there is no action ''", "Actions are: "),
    ],
)
def test_what_nobody_may_delegate(name: str, message: str, hint: str) -> None:
    error = refused(ENGINE, "read", name)
    assert message in error.message
    assert hint in error.next_action


def test_a_delegation_of_nothing() -> None:
    assert refused(ENGINE).message == "a delegation names no action"


def test_an_action_goes_with_the_last_agent_that_could_do_it(tmp_path: Path) -> None:
    text = (POLICIES / "catalogue.yaml").read_text().replace("roles: [writer], ", "roles: [], ", 1)
    text = text.replace("roles: [analyst, writer], ", "roles: [analyst], ", 1)
    engine = PolicyEngine.load(folder(tmp_path, catalogue=text))
    engine.delegable(["read"])
    refused(engine, "report:publish")
    assert "any action of 'write'" in refused(engine, "write").message


def test_an_action_that_is_always_forbidden(tmp_path: Path) -> None:
    never = '@id("never") forbid (principal is Agent, action == Action::"model:invoke", resource);'
    engine = PolicyEngine.load(folder(tmp_path, extra=never))
    refused(engine, "model:invoke")
    refused(engine, "spend")


@pytest.mark.parametrize(
    "text",
    [
        'permit (principal is Agent, action == Action::"dataset:delete", resource);',
        'permit (principal == Agent::"report-writer", action == Action::"dataset:delete", resource);',
        'permit (principal in Tenant::"acme", action == Action::"dataset:delete", resource);',
    ],
)
def test_an_action_that_some_agent_is_permitted(tmp_path: Path, text: str) -> None:
    PolicyEngine.load(folder(tmp_path, extra=f'@id("more") {text}')).delegable(["dataset:delete"])


@pytest.mark.parametrize(
    "text",
    [
        'permit (principal in Role::"writer", action == Action::"dataset:delete", resource);',
        'permit (principal, action in [Action::"dataset:delete", Action::"http:request"], resource is Service);',
    ],
)
def test_an_action_that_only_somebody_or_something_else_is_permitted(tmp_path: Path, text: str) -> None:
    catalogue = Catalogue.load(POLICIES / "catalogue.yaml")
    gone = catalogue.model_copy(update={"agents": {"flight-analyst": catalogue.agents["flight-analyst"]}})
    refused(PolicyEngine.load(folder(tmp_path, extra=f'@id("more") {text}'), gone), "dataset:delete")


@pytest.mark.parametrize(
    "text",
    [
        'forbid (principal is Agent, action == Action::"model:invoke", resource in Space::"hr");',
        'forbid (principal == Agent::"flight-analyst", action == Action::"model:invoke", resource);',
    ],
)
def test_an_action_that_is_forbidden_only_somewhere_or_to_somebody(tmp_path: Path, text: str) -> None:
    PolicyEngine.load(folder(tmp_path, extra=f'@id("more") {text}')).delegable(["model:invoke"])


def test_expanding_covers_what_groups_cover_and_nothing_else() -> None:
    assert ENGINE.expand(["read"]) == {"dataset:query", "dataset:export"}
    assert ENGINE.expand(["egress", "dataset:query"]) == {
        "dataset:query",
        "dataset:export",
        "report:publish",
        "http:request",
    }
    assert ENGINE.expand(["tool", "submit", "nonsense", ""]) == frozenset()
