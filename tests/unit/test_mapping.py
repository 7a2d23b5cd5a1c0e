from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from remit import settings
from remit.catalogue import Catalogue
from remit.client.mapping import findings
from remit.errors import RemitError, Usage
from remit.mapping import Handover, Mapping, ModelRule, Rule, ToolRule, filled
from remit.policy import PolicyEngine

ROOT = Path(__file__).parents[2]
WHOLE = """
frameworks = ["openai-agents", "mcp"]
ungoverned = ["acme.clock"]

[models."gpt-*"]
resource = "planner"
credential = "weather-api"

[tools.query_flights]
activity = "acme.query"
action = "dataset:query"
resource = "{dataset}"
credential = "flights-ro"

[tools.transfer]
action = "report:publish"
resource = "reports"
inline = true

[servers.flights.tools.query]
action = "dataset:query"
resource = "flights"

[nodes."delays.agent"]
runs = "model"
model = "gpt-5"

[agents."Report writer"]
agent = "report-writer"
actions = ["report:publish"]
spaces = ["flights"]
budget = 10
expires_in = "1h"

[children."Publish*"]
share = true
"""


def refused(text: str) -> str:
    with pytest.raises(Usage) as caught:
        Mapping.parse(text)
    assert caught.value.code == "mapping.invalid"
    assert "\n" not in caught.value.message
    return caught.value.message


def test_a_whole_mapping() -> None:
    mapping = Mapping.parse(WHOLE)
    assert mapping.of_activity("acme.query") == ("query_flights", mapping.tools["query_flights"])
    assert mapping.of_activity("query_flights") is None, "its activity has another name"
    assert mapping.of_activity("transfer") is None, "it runs inside the workflow"
    assert mapping.tool("query", server="flights") == Rule(action="dataset:query", resource="flights")
    assert mapping.tool("query") is None, "a server's tool is no other tool"
    assert mapping.tool("query", server="other") is None
    model = mapping.model("gpt-5")
    assert model == Rule(action="model:invoke", resource="planner", credential="weather-api")
    assert mapping.model("claude") is None
    writer = mapping.agent("Report writer")
    assert writer is not None
    assert (writer.scope.actions, writer.expires_in, writer.share) == (("report:publish",), 3600, False)
    assert mapping.child("PublishReport") == Handover(share=True)
    assert mapping.child("Other") is None


def test_it_shares_its_file_with_the_settings() -> None:
    assert set(Mapping.model_fields) == settings.MAPPING
    assert not settings.MAPPING & set(settings.Settings.model_fields)
    assert Mapping.parse('task_queue = "agents"\nungoverned = ["a"]') == Mapping(ungoverned=("a",))


def test_settings_read_a_file_with_a_mapping(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "remit.toml").write_text('task_queue = "agents"\n' + WHOLE)
    monkeypatch.chdir(tmp_path)
    assert settings.Settings.load(home=tmp_path / "home").task_queue == "agents"
    assert Mapping.load(Path("remit.toml")) == Mapping.parse(WHOLE)
    (tmp_path / "remit.toml").write_text("taks_queue = 'agents'")
    with pytest.raises(Usage, match="taks_queue"):
        settings.Settings.load(home=tmp_path / "home")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("frameworks = ['langchain']", "frameworks.0: Input should be"),
        ("tool = {}", "unknown key 'tool' (did you mean 'tools'?)"),
        ("[tools.q]\naction = 'a'\nresorce = 'r'\nresource = 'r'", "unknown key 'tools.q.resorce' (did you mean"),
        ("[tools.q]\naction = 'a'", "tools.q.resource is missing"),
        ("[servers.s.tools.q]\naction = 'a'\nresource = 'r'\ninline = true", "unknown key 'servers.s.tools.q.inline'"),
        ("[tools.q]\naction = 'a'\nresource = 'r'\ninline = true\ncredential = 'c'", "no credential reaches it"),
        ("[nodes.'g.a']\nruns = 'model'", "names its model"),
        ("[nodes.'g.a']\nruns = 'tools'\nmodel = 'm'", "names its model"),
        ("[agents.W]\nagent = 'w'", "either share = true, or an agent"),
        ("[agents.W]\nshare = true\nbudget = 3", "either share = true, or an agent"),
        ("[agents.W]\nagent = 'w'\nactions = ['a']\nspaces = ['s']\nbudget = 1\nexpires_in = '31d'", "expires_in"),
        ("[models.m]\nresource = 'r'\ncost = true", "models.m.cost"),
        ('[tools."a\\nb"]\naction = "a"\nresource = "r"', "tools.a\\nb.[key]: String should match pattern"),
        ('[tools.a]\naction = "a\\n"\nresource = "r"', "tools.a.action: String should match pattern"),
        ("tools = 3", "tools:"),
        ("a = ", "Invalid value"),
    ],
)
def test_what_is_wrong_is_said(text: str, said: str) -> None:
    assert said in refused(text)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(Usage) as caught:
        Mapping.load(tmp_path / "none.toml")
    assert caught.value.code == "mapping.invalid"


def test_what_a_call_touches_is_read_from_its_arguments() -> None:
    assert filled("flights", {}) == "flights"
    assert filled("{a.b}-{c}", {"a": {"b": "x"}, "c": "y"}) == "x-y"
    rule = ToolRule(action="dataset:query", resource="{dataset}", credential="ro", cost=3, once=True)
    use = rule.use("query", {"dataset": "flights", "limit": 3})
    assert (use.tool, use.call.action, use.call.resource) == ("query", "dataset:query", "flights")
    assert use.call.input == {"_tool": "query", "dataset": "flights", "limit": 3}, (
        "whole, whatever the resource is read from"
    )
    assert (use.credential, use.cost, use.once) == ("ro", 3, True)


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(), lambda x: st.lists(x) | st.dictionaries(st.text(), x)
    )
)
def test_only_text_names_what_is_touched(value: object) -> None:
    if isinstance(value, str) and value:
        assert filled("{a}", {"a": value}) == value
        return
    with pytest.raises(RemitError) as caught:
        filled("{a}", {"a": value})
    assert caught.value.code == "tool.input"


def test_names_that_lead_nowhere_are_found() -> None:
    folder = ROOT / "policies"
    catalogue = Catalogue.load(folder / "catalogue.yaml")
    policy = PolicyEngine.load(folder)
    assert findings(Mapping.parse(WHOLE), catalogue=catalogue, policy=policy) == []
    wrong = Mapping(
        models={"*": ModelRule(resource="flights")},
        tools={
            "a": ToolRule(action="dataset:querry", resource="flight", credential="flights-rw"),
            "b": ToolRule(action="read", resource="{x}"),
        },
        agents={"W": Handover(agent="writer", actions=("nothing",), spaces=("flight",), budget=1)},
    )
    assert [line.partition(" (")[0] for line in findings(wrong, catalogue=catalogue, policy=policy)] == [
        "tools.a: there is no action 'dataset:querry'",
        "tools.a: there is no resource 'flight'",
        "tools.a: there is no credential 'flights-rw'",
        "tools.b: there is no action 'read'",
        "models.*: 'flights' is no model of the catalogue",
        "agents.W: there is no agent 'writer'",
        "agents.W: there is no space 'flight'",
        "agents.W: there is no action 'nothing'",
    ]
