"""docker-compose.yml and what it mounts: checked against the Compose schema, and against the rest of this project.

No container engine is used here: these tests read.
"""

from __future__ import annotations

import datetime as dt
import importlib.util
import json
import os
import re
from importlib.resources import files
from pathlib import Path
from types import ModuleType
from typing import Any

import jsonschema
import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from remit.embedded.temporal import DYNAMIC_CONFIG, SEARCH_ATTRIBUTES
from remit.settings import Settings

ROOT = Path(__file__).resolve().parents[2]
TEXT = (ROOT / "docker-compose.yml").read_text(encoding="utf-8")
COMPOSE: dict[str, Any] = yaml.safe_load(TEXT)
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = (ROOT / "deploy/Dockerfile").read_text(encoding="utf-8")
EVERY = pytest.mark.parametrize("name", sorted(SERVICES))
NOW = dt.datetime(2030, 1, 1, tzinfo=dt.UTC)

# Who may see which secrets; `generate` makes them all.
SECRETS = {
    "openbao-keys": {"openbao"},
    "operator-key": {"bootstrap"},
    "identity-key": {"worker"},
    "temporal-db-password": {"temporal-db", "temporal-schema", "temporal"},
    "data-db-password": {"data-db", "data"},
    "data-manager-password": {"data", "bootstrap"},
}


def script(name: str) -> ModuleType:
    """Import a script of deploy/, which is no package."""
    spec = importlib.util.spec_from_file_location(f"deploy_{name}", ROOT / "deploy" / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def mounts(service: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Return ``(source, target, options)`` of each mount; all are written in the short form."""
    return [(*entry.split(":"), "")[:3] for entry in service.get("volumes", [])]


def pins(lock: str) -> dict[str, tuple[str, frozenset[str]]]:
    """Return name → (version, hashes) of a lock."""
    found: dict[str, tuple[str, frozenset[str]]] = {}
    for block in re.split(r"\n(?=[a-z0-9])", (ROOT / lock).read_text(encoding="utf-8")):
        if match := re.match(r"([a-z0-9._-]+)(?:\[.*?\])?==([^ ;\\]+)", block):
            found[match[1]] = (match[2], frozenset(re.findall(r"sha256:[0-9a-f]{64}", block)))
    return found


class TestFile:
    def test_it_fits_the_compose_schema(self) -> None:
        schema = json.loads(
            (files("check_jsonschema") / "builtin_schemas/vendor/compose-spec.json").read_text(encoding="utf-8")
        )
        validator = jsonschema.validators.validator_for(schema)(schema)
        assert [error.message for error in validator.iter_errors(COMPOSE)] == []
        broken = {**COMPOSE, "services": {"worker": {"image": "x:1", "depends-on": []}}}
        assert not validator.is_valid(broken)

    def test_everything_asked_for_is_there(self) -> None:
        assert {"temporal-db", "data-db", "temporal", "temporal-ui", "openbao", "bootstrap", "worker"} <= set(SERVICES)

    def test_every_variable_has_a_default(self) -> None:
        used = re.findall(r"(?<!\$)\$(?!\$)(\{[^}]*\}|\w+)", TEXT)
        assert used
        assert all(re.fullmatch(r"\{[A-Z_]+:-[^}]+\}", one) for one in used)

    def test_volumes_and_networks_are_declared_and_used(self) -> None:
        volumes = {source for service in SERVICES.values() for source, _, _ in mounts(service) if source[0] != "."}
        networks = {name for service in SERVICES.values() for name in service.get("networks", [])}
        assert volumes == set(COMPOSE["volumes"])
        assert networks == set(COMPOSE["networks"])

    def test_databases_are_on_networks_without_a_way_out(self) -> None:
        for name in ("temporal-db", "data-db"):
            assert all(COMPOSE["networks"][network]["internal"] for network in SERVICES[name]["networks"])

    def test_no_secret_is_written_down(self) -> None:
        written = [ROOT / "docker-compose.yml", *(path for path in (ROOT / "deploy").rglob("*") if path.is_file())]
        for path in written:
            if path.suffix in {".lock", ".pyc"}:
                continue
            text = path.read_text(encoding="utf-8")
            assert "-----BEGIN" not in text, path
            assert not re.search(r"://[^/\s:@]+:[^/\s@]+@", text), path
        for service in SERVICES.values():
            for key, value in service.get("environment", {}).items():
                if re.search(r"PASSWORD|PWD|SECRET|TOKEN|KEY", key):
                    assert str(value).startswith("/run/remit/"), key


@EVERY
class TestEveryService:
    def test_its_image_is_pinned(self, name: str) -> None:
        assert re.fullmatch(r"[a-z0-9./-]+:\d+\.\d+[\w.-]*(@sha256:[0-9a-f]{64})?", SERVICES[name]["image"])

    def test_it_is_confined(self, name: str) -> None:
        service = SERVICES[name]
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert "cap_add" not in service
        assert not service.get("privileged")
        assert "no-new-privileges:true" in service["security_opt"]
        assert service["user"].split(":")[0] not in {"", "0", "root"}

    def test_what_it_waits_for_can_happen(self, name: str) -> None:
        for other, how in SERVICES[name].get("depends_on", {}).items():
            assert other in SERVICES
            if how["condition"] == "service_healthy":
                assert SERVICES[other]["healthcheck"]["test"]
            else:
                assert how["condition"] == "service_completed_successfully"
                assert SERVICES[other]["restart"] == "no"

    def test_it_waits_for_nothing_that_waits_for_it(self, name: str) -> None:
        seen: set[str] = set()
        pending = [name]
        while pending:
            for other in SERVICES[pending.pop()].get("depends_on", {}):
                assert other != name
                if other not in seen:
                    seen.add(other)
                    pending.append(other)

    def test_files_it_mounts_exist_and_are_read_only(self, name: str) -> None:
        for source, _, options in mounts(SERVICES[name]):
            if source.startswith("."):
                assert (ROOT / source).is_file(), source
                assert options == "ro", source

    def test_ports_are_on_loopback(self, name: str) -> None:
        assert all(str(port).startswith("127.0.0.1:") for port in SERVICES[name].get("ports", []))

    def test_remit_variables_are_settings(self, name: str) -> None:
        known = {f"REMIT_{field.upper()}" for field in Settings.model_fields}
        given = {key for key in SERVICES[name].get("environment", {}) if key.startswith("REMIT_")}
        assert given <= known


class TestSecrets:
    def test_each_is_mounted_where_it_is_needed_and_nowhere_else(self) -> None:
        for volume, readers in SECRETS.items():
            found = {
                name: options
                for name, service in SERVICES.items()
                for source, _, options in mounts(service)
                if source == volume
            }
            assert set(found) == readers | {"generate"}, volume
            assert all(options == "ro" for name, options in found.items() if name != "generate"), volume

    def test_every_file_a_service_names_is_generated(self, tmp_path: Path) -> None:
        made = set(script("generate").generate(tmp_path, now=NOW))
        texts = {name: json.dumps(service) for name, service in SERVICES.items()}
        texts["openbao"] += (ROOT / "deploy/openbao/openbao.hcl").read_text(encoding="utf-8")
        for name, text in texts.items():
            mounted = {target for _, target, _ in mounts(SERVICES[name])}
            for path in re.findall(r"/run/remit/([\w-]+/[\w.]+\.?\w*)", text):
                assert path in made, (name, path)
                assert f"/run/remit/{path.split('/')[0]}" in mounted, (name, path)

    def test_volumes_get_owner_and_mode_from_the_image(self) -> None:
        for _, target, _ in mounts(SERVICES["generate"]):
            assert re.search(rf"install -d[^&]*{target}\b", DOCKERFILE), target

    def test_generating_again_keeps_everything(self, tmp_path: Path) -> None:
        generate = script("generate").generate
        assert generate(tmp_path, now=NOW)
        before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
        assert generate(tmp_path, now=NOW) == []
        assert {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()} == before

    def test_two_stacks_share_nothing(self, tmp_path: Path) -> None:
        generate = script("generate").generate
        one = {name: (tmp_path / "one" / name) for name in generate(tmp_path / "one", now=NOW)}
        two = {name: (tmp_path / "two" / name) for name in generate(tmp_path / "two", now=NOW)}
        assert one.keys() == two.keys()
        assert all(path.read_bytes() != two[name].read_bytes() for name, path in one.items())

    def test_what_only_our_user_reads_is_closed_to_others(self, tmp_path: Path) -> None:
        script("generate").generate(tmp_path, now=NOW)
        for name in ("operator/operator.pem", "identity/identity.pem", "data-manager/password"):
            assert (tmp_path / name).stat().st_mode & 0o777 == 0o400

    def test_a_certificate_near_its_end_is_made_anew(self, tmp_path: Path) -> None:
        generate = script("generate").generate
        generate(tmp_path, now=NOW)
        assert generate(tmp_path, now=NOW + dt.timedelta(days=340)) == [
            "openbao/server.key",
            "openbao/server.pem",
            "public/ca.pem",
        ]

    def test_the_certificate_fits_the_names_openbao_is_called_by(self, tmp_path: Path) -> None:
        script("generate").generate(tmp_path, now=NOW)
        ca = x509.load_pem_x509_certificate((tmp_path / "public/ca.pem").read_bytes())
        server = x509.load_pem_x509_certificate((tmp_path / "openbao/server.pem").read_bytes())
        server.verify_directly_issued_by(ca)
        names = server.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        host = SERVICES["worker"]["environment"]["REMIT_OPENBAO_ADDRESS"].removeprefix("https://").split(":")[0]
        assert host == "openbao"
        assert host in SERVICES
        assert {host, "localhost"} <= set(names.get_values_for_type(x509.DNSName))
        key = serialization.load_pem_private_key((tmp_path / "openbao/server.key").read_bytes(), password=None)
        assert key.public_key() == server.public_key()


class TestOpenBao:
    CONFIG = (ROOT / "deploy/openbao/openbao.hcl").read_text(encoding="utf-8")

    def test_it_speaks_tls_and_keeps_its_data_in_raft(self) -> None:
        listeners = re.findall(r'^listener "(\w+)" \{\n(.*?)^\}', self.CONFIG, re.MULTILINE | re.DOTALL)
        assert [kind for kind, _ in listeners] == ["tcp"]
        settings = dict(re.findall(r'^\s*(\w+) = "?([^"\n]+)"?$', listeners[0][1], re.MULTILINE))
        assert settings["tls_min_version"] == "tls13"
        assert settings["tls_cert_file"] == "/run/remit/openbao/server.pem"
        assert settings["tls_key_file"] == "/run/remit/openbao/server.key"
        assert "tls_disable" not in self.CONFIG
        assert re.findall(r'^storage "(\w+)"', self.CONFIG, re.MULTILINE) == ["raft"]

    def test_its_data_is_on_volumes(self) -> None:
        targets = {target for _, target, _ in mounts(SERVICES["openbao"])}
        data = re.findall(r'\b(?:path|file_path) = "(/openbao/[^"]+)"', self.CONFIG)
        assert len(data) == 2
        assert all(any(Path(path).is_relative_to(target) for target in targets) for path in data)

    def test_the_operator_it_lets_in_is_the_one_that_logs_in(self) -> None:
        assert f'bound_issuer = "{script("operate").ISSUER}"' in self.CONFIG


class TestTemporal:
    def test_cancellation_reaches_running_activities(self) -> None:
        config = yaml.safe_load((ROOT / "deploy/temporal/dynamicconfig.yaml").read_text(encoding="utf-8"))
        for flag in ("frontend.WorkerCommandsEnabled", "system.enableCancelActivityWorkerCommand"):
            assert flag in DYNAMIC_CONFIG
            assert config[flag] == [{"value": True, "constraints": {}}]
        target = SERVICES["temporal"]["environment"]["DYNAMIC_CONFIG_FILE_PATH"]
        assert target in {mount for _, mount, _ in mounts(SERVICES["temporal"])}

    def test_search_attributes_are_those_of_the_embedded_stack(self) -> None:
        text = (ROOT / "deploy/temporal/namespace.sh").read_text(encoding="utf-8")
        assert dict(re.findall(r"(Remit\w+)=(\w+)", text)) == SEARCH_ATTRIBUTES

    def test_server_and_schema_tool_are_of_one_version(self) -> None:
        tags = {SERVICES[name]["image"].split(":")[1] for name in ("temporal", "temporal-schema", "temporal-namespace")}
        assert len(tags) == 1

    def test_scripts_can_be_run(self) -> None:
        for name in ("schema.sh", "namespace.sh"):
            assert os.access(ROOT / "deploy/temporal" / name, os.X_OK)


class TestWorker:
    def test_it_can_be_scaled(self) -> None:
        assert not {"container_name", "hostname", "ports", "mac_address"} & set(SERVICES["worker"])
        assert isinstance(SERVICES["worker"]["networks"], list)  # the mapping form could fix an address

    def test_its_environment_makes_settings(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        monkeypatch.chdir(tmp_path)
        for key, value in SERVICES["worker"]["environment"].items():
            monkeypatch.setenv(key, value)
        settings = Settings.load()
        assert settings.openbao_address == "https://openbao:8200"
        assert settings.identity_key == Path("/run/remit/identity/identity.pem")
        assert settings.postgres == {"database": "host=data-db port=5432 dbname=flights sslmode=disable"}

    def test_it_finds_temporal_and_the_database_under_their_names(self) -> None:
        environment = SERVICES["worker"]["environment"]
        assert environment["TEMPORAL_ADDRESS"].split(":")[0] in SERVICES
        assert environment["TEMPORAL_NAMESPACE"] == SERVICES["temporal-namespace"]["environment"]["TEMPORAL_NAMESPACE"]
        host = dict(pair.split("=") for pair in json.loads(environment["REMIT_POSTGRES"])["database"].split())["host"]
        for other in (host, "openbao", "temporal"):
            assert set(SERVICES["worker"]["networks"]) & set(SERVICES[other]["networks"]), other


class TestImage:
    def test_its_base_is_pinned_and_its_user_is_not_root(self) -> None:
        assert re.search(r"^ARG PYTHON_IMAGE=python:\d+\.\d+\.\d+-[\w-]+$", DOCKERFILE, re.MULTILINE)
        assert set(re.findall(r"^FROM (\S+)", DOCKERFILE, re.MULTILINE)) <= {
            "${PYTHON_IMAGE}",
            "build",
            "base",
        }
        assert "\nUSER 10001:10001\n" in DOCKERFILE

    def test_the_targets_compose_builds_exist(self) -> None:
        targets = set(re.findall(r"^FROM \S+ AS (\S+)$", DOCKERFILE, re.MULTILINE))
        assert {service["build"]["target"] for service in SERVICES.values() if "build" in service} <= targets

    def test_what_it_copies_exists_and_is_sent(self) -> None:
        ignore = (ROOT / "deploy/Dockerfile.dockerignore").read_text(encoding="utf-8").splitlines()
        sent = {line[1:] for line in ignore if line.startswith("!")}
        assert ignore[0] == "*"
        for arguments in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE):
            for source in arguments.split()[:-1]:
                assert (ROOT / source).exists(), source
                assert source.split("/")[0] in sent, source

    def test_its_packages_are_those_of_the_lock(self) -> None:
        everything, image = pins("requirements.lock"), pins("deploy/requirements.lock")
        assert {"hvac", "temporalio", "psycopg", "cedarpy"} <= set(image)
        assert {name: pin for name, pin in image.items() if everything.get(name) != pin} == {}
