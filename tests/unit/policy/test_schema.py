from __future__ import annotations

import cedarpy

from remit.policy import PolicyEngine
from remit.policy.schema import read_actions
from tests.policies.questions import POLICIES

SCHEMA = (POLICIES / "schema.cedarschema").read_text()


def test_the_hierarchy_is_the_schemas() -> None:
    actions = read_actions(cedarpy.Schema.from_str(SCHEMA))
    assert actions.faults == ()
    assert actions.groups["dataset:export"] == {"dataset:export", "read", "egress"}
    assert actions.groups["read"] == {"read"}
    assert actions.above["dataset:export"] == {"dataset:export", "read", "egress", "tool"}
    assert "tool" not in actions.groups
    assert "submit" not in actions.groups
    assert actions.above["submit"] == {"submit"}


def test_the_engine_offers_every_tool_action() -> None:
    engine = PolicyEngine.load(POLICIES)
    assert engine.actions == {
        "dataset:query",
        "dataset:export",
        "dataset:delete",
        "report:publish",
        "http:request",
        "model:invoke",
    }
    assert {"read", "write", "egress", "spend"} == set(engine.groups) - engine.actions


def test_inputs_are_what_the_schema_declares() -> None:
    tools = read_actions(cedarpy.Schema.from_str(SCHEMA)).tools
    assert tools["dataset:query"].inputs == {"limit"}
    assert tools["http:request"].inputs == {"method", "path"}
    assert tools["report:publish"].inputs == set()
    assert tools["report:publish"].resources == {"Dataset"}


def test_inputs_are_read_through_names_nesting_and_odd_attributes() -> None:
    text = (
        SCHEMA
        + """
    type Nested = { deep: Set<Set<Role>>, "odd-name"?: String };
    type Whole = { delegation: Delegation, run: Run, approvals: Approvals, input: Nested };
    action "odd:one" in [read, spend] appliesTo {
      principal: [Agent, User], resource: [Dataset, Service], context: Whole,
    };
    action "odd:two" in ["odd:group"];
    action "odd:group" in [write];
    """
    )
    actions = read_actions(cedarpy.Schema.from_str(text))
    assert actions.faults == ()
    assert actions.tools["odd:one"].inputs == {"deep", "odd-name"}
    assert actions.tools["odd:one"].resources == {"Dataset", "Service"}
    assert actions.groups["odd:two"] == {"odd:two", "odd:group", "write"}
    assert "odd:two" not in actions.tools
