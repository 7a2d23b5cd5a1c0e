"""Settings: one frozen object, read once.

- Sources, first wins: the environment (``REMIT_…``), ``./remit.toml``, ``<home>/remit.toml`` (what `remit dev` writes).
- Temporal's own address, namespace, TLS and API key come from Temporal's standard client configuration.
- A ``remit.toml`` may hold a mapping as well (`remit.mapping`): its keys are not settings.
- No secret is a setting: settings name the files secrets are in.
"""

from __future__ import annotations

import os
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    TomlConfigSettingsSource,
)

from remit.errors import Usage

DEFAULT_HOME = ".remit"
FILE = Path("remit.toml")
MAPPING = frozenset(
    {"agents", "children", "frameworks", "models", "nodes", "on_denied", "servers", "tools", "ungoverned"}
)
"""Keys of a mapping in the same file."""


class ModelSettings(BaseModel):
    """How a model of the catalogue is reached."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model: Annotated[str, Field(pattern=r"^[a-z][a-z0-9/-]*:.+$")]
    """Provider and name as pydantic-ai writes them, e.g. ``openai:gpt-5``."""
    base_url: str | None = None
    """Where the provider is, if not at its own address."""
    key: str = "key"
    """Field of the leased credential that holds the provider's key."""


class Settings(BaseSettings):
    """What a Remit process needs to know; every field may be set as ``REMIT_<FIELD>``."""

    model_config = SettingsConfigDict(env_prefix="REMIT_", extra="forbid", frozen=True, validate_default=True)

    home: Path = Path(DEFAULT_HOME)
    """State folder: sessions, audit, and the embedded stack's data."""
    policies: Path = Path("policies")
    """Folder of Cedar schema, policies and catalogue."""

    openbao_address: str = "https://127.0.0.1:8200"
    """Address of OpenBao or Vault."""
    openbao_ca: Path | None = None
    """TLS roots for it (PEM); None: the system's."""
    openbao_namespace: str | None = None
    openbao_profile: Literal["openbao", "vault"] = "openbao"
    """``vault`` keeps to the API both share."""

    identity: Path | None = None
    """Folder with this worker's identity tokens, one file each: ``authority.jwt``, ``agent-<name>.jwt``
    (written and rotated by SPIFFE, Kubernetes or whoever attests workloads)."""
    identity_key: Path | None = None
    """Or a private key that signs such tokens itself: the embedded stack's own identity issuer."""

    postgres: dict[str, str] = Field(default_factory=dict)
    """Connection strings without user and password, by the mount that makes their users, e.g.
    ``{"database": "host=127.0.0.1 port=5432 dbname=flights"}`` (JSON in the environment)."""

    audit: Path | None = None
    """Folder of the audit log; default ``<home>/audit``."""
    task_queue: str = "remit"
    watch_seconds: Annotated[float, Field(gt=0, le=60)] = 1.0
    """How often a running step looks whether its chain is still live, besides being told."""
    reap_seconds: Annotated[float, Field(ge=1, le=3600)] = 30.0
    """How often what was left behind is looked for and ended."""
    encrypt: bool = False
    """Whether what Temporal stores of tasks (inputs, results, signals, failures) is encrypted (decision 0021)."""
    temporal_config: Path | None = None
    """A Temporal client configuration file; default: where Temporal's tools look."""
    services: dict[str, str] = Field(default_factory=dict)
    """Base addresses of the catalogue's services where they differ from it: ``{"name": "url"}``."""

    planners: dict[str, ModelSettings] = Field(default_factory=dict)
    """Models that may plan, by their name in the catalogue: ``{"planner": {"model": "openai:gpt-5"}}``."""

    @property
    def audit_folder(self) -> Path:
        """Return the folder audit records are written to."""
        return self.audit or self.home / "audit"

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Order the sources: arguments, environment, ``./remit.toml``, ``<home>/remit.toml``."""
        home = init_settings().get("home") or os.environ.get("REMIT_HOME") or DEFAULT_HOME
        return (
            init_settings,
            env_settings,
            _Toml(settings_cls, FILE),
            _Toml(settings_cls, Path(home) / FILE),
        )

    @classmethod
    def load(cls, *, home: Path | None = None) -> Settings:
        """Read the settings.

        Raises:
            Usage: ``settings.invalid``, naming the first setting that is wrong.
        """
        try:
            return cls(home=home) if home else cls()
        except (ValidationError, ValueError) as error:
            found = str(error)
            if isinstance(error, ValidationError):
                first = error.errors(include_url=False, include_input=False)[0]
                found = f"{'.'.join(map(str, first['loc']))}: {first['msg']}"
            raise Usage(
                f"The settings are wrong: {found}",
                code="settings.invalid",
                next_action="Look at the environment (REMIT_…), remit.toml and the state folder's remit.toml.",
            ) from None


class _Toml(TomlConfigSettingsSource):
    """A settings file, without the mapping it may hold."""

    def _read_file(self, file_path: Path | Traversable) -> dict[str, Any]:
        return {key: value for key, value in super()._read_file(file_path).items() if key not in MAPPING}
