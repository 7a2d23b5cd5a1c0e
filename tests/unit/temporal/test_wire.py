"""What stands on the wire is what is decided; what would be done beyond it is refused."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import pytest
from pydantic import BaseModel, Field
from temporalio.contrib.pydantic import pydantic_data_converter
from temporalio.testing import ActivityEnvironment

from remit.errors import Refused
from remit.mapping import Mapping
from remit.temporal._mapped import Mapped
from remit.tool import Use

MEANING = """
frameworks = ["openai-agents"]

[tools.seek]
activity = "acme.seek"
action = "dataset:query"
resource = "flights"
"""


class Sought(BaseModel):
    dataset: str
    beyond: str = Field(default="", exclude=True)


@dataclass
class Place:
    name: str


def used(*arguments: Any) -> Use:
    environment = ActivityEnvironment()
    environment.payload_converter = pydantic_data_converter.payload_converter
    found = Mapped(Mapping.parse(MEANING)).tool("acme.seek")
    assert found is not None
    use: Use = environment.run(found.use, arguments)
    return use


@pytest.mark.parametrize("given", [Sought(dataset="flights"), Place("Lisbon"), [Place("Lisbon")], {"at": Place("x")}])
def test_what_json_says_whole_is_decided(given: Any) -> None:
    assert used(given).call.action == "dataset:query"


@pytest.mark.parametrize("around", [lambda one: one, lambda one: [one], lambda one: {"at": (one,)}])
def test_what_json_leaves_out_is_refused(around: Any) -> None:
    with pytest.raises(Refused, match="an argument cannot be shown whole: Sought") as refused:
        used(around(Sought(dataset="flights", beyond="payroll")))
    assert refused.value.code == "tool.input"


def test_what_cannot_be_read_again_is_refused() -> None:
    class Narrow(BaseModel):
        name: str = Field(validation_alias="n")

    with pytest.raises(Refused, match="Narrow"):
        used(Narrow(n="x"))
