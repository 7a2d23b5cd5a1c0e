"""Traces of a real worker: one attempt's spans, under its activity's, with no secret."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path
from typing import Any

from remit.client import Remit
from remit.demo.witness import Witness
from remit.embedded import Stack
from remit.job import Job
from remit.settings import Settings

REPOSITORY = Path(__file__).parents[2]
SPANS = {
    "remit.attempt",
    "remit.authorize",
    "remit.verify",
    "remit.decide",
    "remit.mint",
    "remit.tool",
    "remit.release",
}


def spans(text: str) -> list[dict[str, Any]]:
    """Read what the console exporter printed: one JSON object after another."""
    decoder, found, at = json.JSONDecoder(), [], 0
    while (at := text.find("{\n", at)) >= 0:
        span, at = decoder.raw_decode(text, at)
        found.append(span)
    return found


async def test_an_attempts_spans_belong_to_its_activity(stack: Stack, settings: Settings) -> None:
    traced = settings.model_copy(update={"task_queue": "traced"})
    worker = await asyncio.create_subprocess_exec(
        sys.executable,
        str(REPOSITORY / "worker.py"),
        env={
            **os.environ,
            "REMIT_HOME": str(stack.home),
            "REMIT_TASK_QUEUE": "traced",
            "OTEL_TRACES_EXPORTER": "console",
        },
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        async with Remit.open(traced, person="alice") as alice:
            job = Job.load(REPOSITORY / "jobs" / "delay-review.yaml")
            started = await alice.submit(job.model_copy(update={"steps": job.steps[:1]}))
            async for _ in alice.watch(started.task):
                pass
    finally:
        worker.send_signal(signal.SIGTERM)
        printed, _ = await worker.communicate()
    text = printed.decode()
    seen = spans(text)
    assert {span["name"] for span in seen} >= SPANS
    by_id = {span["context"]["span_id"]: span for span in seen}
    (attempt,) = [span for span in seen if span["name"] == "remit.attempt"]
    assert by_id[attempt["parent_id"]]["name"] == "RunActivity:sql.query"
    inner = [span for span in seen if span["name"] in SPANS - {"remit.attempt"}]
    assert {span["context"]["trace_id"] for span in inner} == {attempt["context"]["trace_id"]}
    assert attempt["attributes"]["remit.tool"] == "sql.query"
    assert await Witness(stack).secrets_in({"traces": text}) == []
