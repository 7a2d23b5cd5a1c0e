"""The scenario: what every example's agent is asked, and the calls it makes; the same for all frameworks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

PROMPT = "Which carriers are late? Look at the payroll too, publish a report of the delays, and count the late flights."
AGENT, PURPOSE = "delay-desk", "delay-review"
ACTIONS, SPACES, BUDGET = ("read", "report:publish", "model:invoke"), ("flights",), 100
TABLE, HURRY = "delays_by_carrier", "reports.hurry"


@dataclass(frozen=True, slots=True)
class Call:
    """One tool call: the tool's name and its arguments."""

    tool: str
    arguments: Mapping[str, Any]


PERMITTED = Call(
    "query_flights",
    {
        "dataset": "flights",
        "sql": "select carrier, round(avg(dep_delay)::numeric, 1) as mean_delay"
        " from flights group by carrier order by mean_delay desc limit 3",
    },
)
DENIED = Call("query_flights", {"dataset": "payroll", "sql": "select * from hr.payroll"})
APPROVED = Call(
    "publish_report",
    {
        "table": TABLE,
        "sql": "select carrier, count(*) as flights, round(avg(dep_delay)::numeric, 1) as mean_delay"
        " from flights group by carrier",
    },
)
# A minute: time to revoke it. Nobody has to wait for it twice: once there is a table `HURRY`, it takes no time.
REVOKED = Call(
    "query_flights",
    {
        "dataset": "flights",
        "sql": "select count(*) as late"
        " from flights, pg_sleep(case when to_regclass('reports.hurry') is null then 60 else 0 end)"
        " where dep_delay > 120",
    },
)
CALLS = (PERMITTED, DENIED, APPROVED, REVOKED)
