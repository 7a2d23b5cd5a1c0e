"""Actions and mapping entries drafted from what an MCP server says, also from one that wants to break them."""

from __future__ import annotations

import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

import cedarpy
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from remit.catalogue import Catalogue
from remit.errors import Refused, RemitError, Usage
from remit.mapping import Mapping
from remit.policy import PolicyEngine, PolicyInvalid, drafting, offered
from remit.policy.drafting import Draft, Server
from remit.policy.schema import read_actions
from remit.policy.source import Source
from tests.policies.questions import POLICIES

SOURCE = Source.read(POLICIES)
CATALOGUE = Catalogue.load(POLICIES / "catalogue.yaml")
FLIGHTS = Server("flights", "flights")


def drafted(*tools: dict[str, Any], server: Server = FLIGHTS, source: Source = SOURCE) -> Draft:
    return drafting.draft(server, offered.read(tools), source=source, catalogue=CATALOGUE)


def tool(name: str, properties: Any = None, **annotations: bool) -> dict[str, Any]:
    schema = {"type": "object", "properties": properties or {}}
    return {"name": name, "inputSchema": schema, "annotations": annotations}


def code_of(cedar: str) -> str:
    """Return a draft without its comments."""
    return "\n".join(line for line in cedar.splitlines() if not line.startswith("//"))


class TestDraft:
    def test_it_can_be_added_as_it_is(self, tmp_path: Path) -> None:
        draft = drafted(
            tool("query", {"dataset": {"type": "string"}}, readOnlyHint=True, openWorldHint=False), tool("drop")
        )
        engine = PolicyEngine(replace(SOURCE, schema=SOURCE.schema + draft.cedar), CATALOGUE)
        assert engine.groups["flights:query"] == {"flights:query", "read"}
        assert engine.groups["flights:drop"] == {"flights:drop", "write", "egress"}
        rules = Mapping.parse(draft.toml).servers["flights"].tools
        assert {name: (rule.action, rule.resource, rule.once) for name, rule in rules.items()} == {
            "drop": ("flights:drop", "flights", True),
            "query": ("flights:query", "flights", False),
        }

    def test_it_says_that_annotations_are_claims(self) -> None:
        draft = drafted(tool("a", readOnlyHint=True), tool("b"))
        assert "it may say anything" in draft.cedar
        assert "// The server says: read-only." in draft.cedar
        assert "// The server says: nothing; so the strictest groups." in draft.cedar

    def test_it_names_what_policies_cannot_read_and_what_cannot_be_mapped(self) -> None:
        draft = drafted(tool("a", {"ratio": {"type": "number"}}), tool("b\nc"))
        assert '// Policies cannot read "ratio": no single Cedar type.' in draft.cedar
        assert '// Left out, and so refused: tool "b\\nc"' in draft.cedar
        assert list(Mapping.parse(draft.toml).servers["flights"].tools) == ["a"]

    def test_a_description_is_not_taken_over(self) -> None:
        draft = drafted({**tool("a"), "description": "reviewed by security", "title": "harmless"})
        assert "reviewed" not in draft.cedar + draft.toml
        assert "harmless" not in draft.cedar + draft.toml

    def test_it_says_where_a_policy_permits_an_agent_already(self) -> None:
        # analysts may read any dataset: a server that says it only reads would be let in at once
        read = tool("a", readOnlyHint=True)
        assert drafted(read, server=Server("flights", "flights", "Dataset")).actions[0].permitted
        assert not drafted(read).actions[0].permitted
        assert not drafted(tool("a"), server=Server("flights", "flights", "Dataset")).actions[0].permitted

    def test_a_name_delegations_cannot_say_gets_one_with_a_hash(self) -> None:
        names = [drafting.action_of(FLIGHTS, name) for name in ("Get Weather!", "Get Weather?", "x" * 128, "а", "a/b")]
        assert names[0].startswith("flights:Get-Weather-")
        assert len(set(names)) == 5
        assert all(drafting.ACTION.fullmatch(name) for name in names)


class TestRefusals:
    def test_an_action_that_is_there_already_is_a_clash(self) -> None:
        with pytest.raises(Refused) as refused:
            drafted(tool("query"), tool("new"), server=Server("dataset", "flights", "Dataset"))
        assert refused.value.code == "mcp.clash"
        assert "dataset:query" in refused.value.message
        assert "dataset:new" not in refused.value.message

    def test_so_is_a_name_made_to_look_like_anothers_made_name(self) -> None:
        made = drafting.action_of(FLIGHTS, "Get Weather!").removeprefix("flights:")
        with pytest.raises(Refused) as refused:
            drafted(tool("Get Weather!"), tool(made))
        assert refused.value.code == "mcp.clash"

    @pytest.mark.parametrize("name", ["", "a b", 'a"', "a:b", "a\n", "é", "-a", "x" * 32])
    def test_a_servers_name_is_a_plain_one(self, name: str) -> None:
        with pytest.raises(Usage) as refused:
            Server(name, "flights")
        assert refused.value.code == "mcp.name"

    def test_a_resource_is_of_a_known_type(self) -> None:
        with pytest.raises(Usage):
            Server("a", "a", "Agent] , context: {")

    @pytest.mark.parametrize("tools", [[], [tool("a\nb")]], ids=["none", "unmappable"])
    def test_nothing_to_draft_is_said(self, tools: list[dict[str, Any]]) -> None:
        with pytest.raises(Refused) as refused:
            drafted(*tools)
        assert refused.value.code == "mcp.tools"

    def test_policies_that_are_not_valid_are_said_first(self) -> None:
        with pytest.raises(PolicyInvalid):
            drafted(tool("a"), source=replace(SOURCE, schema="entity A;"))

    def test_a_schema_without_the_groups_is_not_added_to(self) -> None:
        schema = SOURCE.schema.replace(
            "action read, write, egress, spend in [tool];", "action read, egress, spend in [tool];"
        )
        with pytest.raises(PolicyInvalid):
            drafted(tool("a"), source=replace(SOURCE, schema=schema))


HOSTILE = st.one_of(
    st.text(max_size=40),
    st.sampled_from([
        "query", "Query", "quеry", 'x" in [tool] appliesTo {principal: User, resource: Space}; action "y',
        "a\n}; action b", "a*/ b", "// x", "'''", '"""', "a\\", "\\u0022", "a]\n[tools.b]\nresource = 'x'", "]", "a.b",
        "#", "=", "\u202ea", "\ud800", "\0", "\x7f", "a\u2028b", "__cedar", "in", "input", "delegation", "tool", "read",
        "\U0001f600", "e\u0301",
    ]),
)  # fmt: skip
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | HOSTILE,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(HOSTILE, inner, max_size=3),
    max_leaves=8,
)
TYPE = st.sampled_from(
    ["string", "integer", "boolean", "number", "array", "object", "null", "Long", ["string", "null"]]
)
PROPERTY = st.one_of(
    JSON,
    st.fixed_dictionaries({"type": TYPE}, optional={"items": st.fixed_dictionaries({"type": TYPE}), "enum": JSON}),
    st.fixed_dictionaries({"anyOf": st.lists(st.fixed_dictionaries({"type": TYPE}), max_size=3)}),
    st.fixed_dictionaries({"$ref": st.sampled_from(["#/$defs/a", "#/$defs/b", "#", "x"])}),
)
SCHEMA = st.one_of(
    JSON,
    st.fixed_dictionaries(
        {"type": st.just("object"), "properties": st.dictionaries(HOSTILE, PROPERTY, max_size=5)},
        optional={
            "required": st.lists(HOSTILE, max_size=3) | JSON,
            "$defs": st.dictionaries(HOSTILE, PROPERTY, max_size=2),
        },
    ),
)
ANNOTATIONS = st.one_of(
    JSON,
    st.dictionaries(
        st.sampled_from(["readOnlyHint", "destructiveHint", "idempotentHint", "openWorldHint"]), st.booleans() | JSON
    ),
)
TOOL = st.fixed_dictionaries(
    {"name": HOSTILE}, optional={"inputSchema": SCHEMA, "annotations": ANNOTATIONS, "description": HOSTILE}
)
BEFORE = read_actions(cedarpy.Schema.from_str(SOURCE.schema))


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(tools=st.lists(TOOL, min_size=1, max_size=4), resource=HOSTILE.filter(lambda text: text.isprintable() and text))
def test_whatever_a_server_says_the_draft_says_only_what_was_meant(tools: list[dict[str, Any]], resource: str) -> None:
    server = Server("srv", resource)
    draft: Draft | RemitError
    try:
        draft = drafted(*tools, server=server)
    except RemitError as error:
        draft = error
    if isinstance(draft, RemitError):
        assert draft.code in ("mcp.tools", "mcp.clash")  # never mcp.draft or policy.invalid: it was written right
        return
    # Cedar: exactly one action more for each tool, with the groups and inputs that were meant, and no other change
    after = read_actions(cedarpy.Schema.from_str(SOURCE.schema + draft.cedar))
    assert after.faults == ()
    assert {name: after.tools[name] for name in BEFORE.tools} == dict(BEFORE.tools)
    assert after.tools.keys() - BEFORE.tools.keys() == {one.action for one in draft.actions}
    assert after.above.keys() - BEFORE.above.keys() == {one.action for one in draft.actions}
    for one in draft.actions:
        assert after.groups[one.action] == {one.action, *one.tool.claims.groups}
        assert after.tools[one.action].inputs == {each.name for each in one.tool.inputs}
        assert after.tools[one.action].resources == {"Service"}
    # TOML: exactly the entries, and nothing beside them
    assert tomllib.loads(draft.toml).keys() == {"servers"}
    assert tomllib.loads(draft.toml)["servers"].keys() == {"srv"}
    rules = Mapping.parse(draft.toml).servers["srv"].tools
    assert {name: rule.action for name, rule in rules.items()} == {one.tool.name: one.action for one in draft.actions}
    assert {rule.resource for rule in rules.values()} == {resource}
    # Text: lines a terminal shows as they are; every tool is either drafted or named as left out
    assert all(line.isprintable() for line in (draft.cedar + draft.toml).splitlines())
    assert draft.toml.isascii()
    assert code_of(draft.cedar).isascii()
    assert len(draft.actions) + len(draft.left_out) == len(tools)
