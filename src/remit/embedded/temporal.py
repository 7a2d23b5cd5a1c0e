"""The embedded Temporal: the real server and its UI in one process, kept in one SQLite file.

- ``history.transferProcessorMaxPollRPS=5000``: stock, this server adds about 30 ms to every activity.
- The two worker-command flags let a cancellation reach a running activity in about 10 ms.
- SQLite writes ahead (WAL, ``synchronous=normal``): with its default journal 50 tasks at once run at a sixth
  of the speed. A killed process loses nothing; a machine that loses power may lose the last moment.
- Search attributes are made before the first workflow can ask for them.
"""

from __future__ import annotations

import signal
from dataclasses import dataclass

import urllib3

from remit.embedded.ports import HOST, Ports
from remit.embedded.process import Command
from remit.embedded.programs import program
from remit.embedded.state import StateFolder

NAME = "temporal"
NAMESPACE = "default"
SEARCH_ATTRIBUTES = {
    "RemitRoot": "Keyword",
    "RemitAgent": "Keyword",
    "RemitDelegations": "KeywordList",
    "RemitState": "Keyword",
}
DYNAMIC_CONFIG = {
    "history.transferProcessorMaxPollRPS": "5000",
    "frontend.WorkerCommandsEnabled": "true",
    "system.enableCancelActivityWorkerCommand": "true",
}
SQLITE_PRAGMAS = {"journal_mode": "wal", "synchronous": "normal"}


@dataclass(frozen=True, slots=True)
class Temporal:
    """The server of one state folder."""

    state: StateFolder
    ports: Ports

    @property
    def name(self) -> str:
        """Return the name of record, folder and log."""
        return NAME

    @property
    def address(self) -> str:
        """Return ``host:port`` of the gRPC front end."""
        return f"{HOST}:{self.ports.temporal}"

    @property
    def ui(self) -> str:
        """Return the UI's URL."""
        return f"http://{HOST}:{self.ports.temporal_ui}"

    def prepare(self) -> Command:
        """Make the folder ready and return what to run."""
        folder = self.state.folder(NAME) if self.state.completed(NAME) else self.state.wipe(NAME)
        ports = self.ports
        argv = [str(program("temporal")), "server", "start-dev", "--log-level", "warn"]
        argv += ["--ip", HOST, "--db-filename", str(folder / "temporal.db"), "--ui-disable-news-fetch"]
        argv += ["--port", str(ports.temporal), "--ui-port", str(ports.temporal_ui)]
        argv += ["--http-port", str(ports.temporal_http), "--metrics-port", str(ports.temporal_metrics)]
        for key, kind in SEARCH_ATTRIBUTES.items():
            argv += ["--search-attribute", f"{key}={kind}"]
        for key, value in DYNAMIC_CONFIG.items():
            argv += ["--dynamic-config-value", f"{key}={value}"]
        for key, value in SQLITE_PRAGMAS.items():
            argv += ["--sqlite-pragma", f"{key}={value}"]
        return Command(NAME, "Temporal", tuple(argv), folder, stop_signal=signal.SIGTERM, grace=8.0)

    def ready(self) -> bool:
        """Tell whether the namespace can be listed and the UI answers."""
        api = f"http://{HOST}:{self.ports.temporal_http}/api/v1/namespaces/{NAMESPACE}"
        with urllib3.PoolManager(retries=False, timeout=2.0) as http:
            try:
                return all(
                    http.request("GET", url).status == 200 for url in (api, f"{api}/workflows?pageSize=1", self.ui)
                )
            except urllib3.exceptions.HTTPError:
                return False

    def finish(self) -> None:
        """Record that the first start is done."""
        if not self.state.completed(NAME):
            self.state.complete(NAME)
