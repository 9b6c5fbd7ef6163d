"""All settings, one frozen model, read once: from the environment, ``.env`` or a running ``ticketflow up``."""

import os
import re
from difflib import get_close_matches
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from dotenv import dotenv_values
from pydantic import AfterValidator, Field, SecretStr, ValidationError, field_validator
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from config.egress import EgressPolicy, IPNetwork
from config.errors import SettingsError
from config.redis_tls import tls_options

PREFIX = "TICKETFLOW_"
KEY_PREFIX = PREFIX + "KEY_"
"""What follows is a provider id: a key for people without Vault, no setting. See ``config.keys``."""

STACK_ENV = Path(".ticketflow") / "stack.env"
MAX_SLICE_JOBS = 1000
SPARE_SLICES = 2
"""While one slice comes to its end, and its place is taken by the next, the calls of others fill the process."""

_SERVICES = ("TICKETFLOW_REDIS_URL", "TICKETFLOW_DATABASE_URL", "TICKETFLOW_VAULT_URL")


def _url_of(*schemes: str) -> AfterValidator:
    def check(url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in schemes or not (parts.hostname or parts.path):
            raise ValueError(f"must be a URL that starts with {' or '.join(s + '://' for s in schemes)}")
        return url

    return AfterValidator(check)


def _tls(url: str) -> str:
    tls_options(url)
    return url


def _path_segment(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}", name):
        raise ValueError("must be letters, digits, - and _ only")
    return name


Segment = Annotated[str, AfterValidator(_path_segment)]


class Settings(BaseSettings):
    """What a process needs to know; durations in seconds, sizes in bytes, no secret ever printed."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX, env_ignore_empty=True, frozen=True, extra="ignore", hide_input_in_errors=True
    )

    redis_url: Annotated[str, _url_of("redis", "rediss"), AfterValidator(_tls)] = Field(
        "redis://127.0.0.1:6379/0", repr=False, description="Redis or Valkey: broker, registry cache, presence"
    )
    database_url: Annotated[str, _url_of("postgresql", "postgres")] = Field(
        "postgresql://ticketflow@127.0.0.1:5432/ticketflow", repr=False, description="Postgres: the ledger"
    )
    vault_url: Annotated[str, _url_of("http", "https")] | None = Field(
        None, description="Vault or OpenBao; without it keys come from TICKETFLOW_KEY_<ID>"
    )
    vault_token: SecretStr | None = Field(None, description="Vault token; or an AppRole, or a Kubernetes role")
    vault_role_id: str | None = Field(None, description="AppRole role id, with one of the next four")
    vault_secret_id: SecretStr | None = Field(None, description="AppRole secret id")
    vault_secret_id_file: Path | None = Field(None, description="file with the secret id, read anew at each login")
    vault_secret_id_wrapped: SecretStr | None = Field(
        None, description="wrapping token that holds the secret id; good for one start of one worker"
    )
    vault_secret_id_wrapped_file: Path | None = Field(None, description="file with such a wrapping token")
    vault_k8s_role: str | None = Field(None, description="role of Vault's Kubernetes auth")
    vault_k8s_token_file: Path = Field(
        Path("/var/run/secrets/kubernetes.io/serviceaccount/token"), description="the service account's token"
    )
    vault_auth_mount: Segment | None = Field(None, description="mount of the auth method, if not approle or kubernetes")
    vault_namespace: str | None = Field(None, description="Vault namespace, if it has any")
    vault_ca_file: Path | None = Field(None, description="PEM file of the CA that signed Vault's certificate")
    vault_mount: Segment = Field("ticketflow", description="mount point of the KV v2 engine")
    vault_prefix: Segment = Field("providers", description="folder of the keys below the mount")
    key_ttl_s: Annotated[float, Field(gt=0)] = Field(60.0, description="a key is read again after so many seconds")
    key_stale_s: Annotated[float, Field(ge=0)] = Field(
        3600.0, description="how long a known key serves while Vault is away"
    )
    gemini_sdk: Literal["google-genai", "google-generativeai"] = Field(
        "google-genai", description="back end of the gemini adapter: google-genai or google-generativeai"
    )
    egress_allow_nets: Annotated[tuple[IPNetwork, ...], NoDecode] = Field(
        (), description="networks that providers may live in beyond the public internet, comma-separated CIDR"
    )
    egress_allow_hosts: Annotated[tuple[str, ...], NoDecode] = Field(
        (), description="host names that may resolve to any address, comma-separated"
    )
    response_max_bytes: Annotated[int, Field(ge=1024)] = Field(8 * 1024 * 1024, description="largest answer accepted")
    calls_in_flight: Annotated[int, Field(gt=0)] = Field(2000, description="calls at once in one worker process")
    slice_jobs: Annotated[int, Field(gt=0, le=MAX_SLICE_JOBS)] = Field(
        250, description="jobs of a batch in one message"
    )
    slices_per_batch: Annotated[int, Field(gt=0)] = Field(
        10, description="messages of one batch at once, for each worker process"
    )
    slice_budget_s: Annotated[float, Field(gt=0)] = Field(30.0, description="a slice yields after so many seconds")
    lease_s: Annotated[float, Field(ge=1)] = Field(12.0, description="a worker silent for so long loses its jobs")
    sweep_interval_s: Annotated[float, Field(gt=0)] = Field(2.0, description="pause between two rounds of the sweeper")
    max_attempts: Annotated[int, Field(gt=0)] = Field(5, description="calls for one job before it fails")
    total_time_s: Annotated[float, Field(gt=0)] = Field(
        86400.0, description="no further attempt at a job when it has been tried for so long"
    )
    max_losses: Annotated[int, Field(gt=0)] = Field(3, description="worker deaths with one job before it fails")
    retention_days: Annotated[float, Field(gt=0)] | None = Field(
        None, description="jobs and batches that ended longer ago are removed; without it they stay"
    )
    shutdown_grace_s: Annotated[float, Field(ge=0)] = Field(10.0, description="calls in flight may end after SIGTERM")
    worker_concurrency: Annotated[int, Field(gt=0)] = Field(24, description="slices at once in one worker process")
    flower_host: str = Field("127.0.0.1", description="address that Flower listens on")
    flower_port: Annotated[int, Field(gt=0, lt=65536)] = Field(5555, description="port that Flower listens on")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="DEBUG, INFO, WARNING or ERROR")

    @field_validator("egress_allow_nets", "egress_allow_hosts", mode="before")
    @classmethod
    def _split(cls, value: object) -> object:
        return tuple(part.strip() for part in value.split(",") if part.strip()) if isinstance(value, str) else value

    @property
    def batch_slices(self) -> int:
        """Most slices of batches in one worker process: each holds a task thread, and never all of them."""
        return max(1, self.worker_concurrency - max(1, self.worker_concurrency // 4))

    @property
    def batch_jobs(self) -> int:
        """Most jobs of batches in one worker process: somewhat more than it makes calls at once."""
        return self.calls_in_flight + SPARE_SLICES * self.slice_jobs

    @property
    def share_jobs(self) -> int:
        """Jobs of one batch that are asked for at once, for each worker process."""
        return min(self.slice_jobs * min(self.slices_per_batch, self.batch_slices), self.batch_jobs)

    @property
    def egress(self) -> EgressPolicy:
        """The policy that these settings describe."""
        return EgressPolicy(self.egress_allow_nets, frozenset(host.lower() for host in self.egress_allow_hosts))


def address_of(url: str) -> str:
    """Host, port and path of a service's URL, without credentials or query: fit for messages."""
    parts = urlsplit(url)
    try:
        port = f":{parts.port}" if parts.port else ""
    except ValueError:
        port = ""
    return f"{parts.hostname or ''}{port}{parts.path.rstrip('/')}"


def load_settings(folder: Path | None = None) -> Settings:
    """The settings of this process.

    The environment wins over ``.env``; where neither names a service, a running ``ticketflow up`` serves.

    Args:
        folder: where ``.env`` and ``.ticketflow/`` are looked for; the current one by default.

    Raises:
        SettingsError: with every mistake, and no value of a secret.
    """
    folder = folder or Path()
    values = _given(folder / ".env") | {k: v for k, v in os.environ.items() if k.startswith(PREFIX) and v}
    env_files = [folder / ".env"]
    if not any(name in values for name in _SERVICES):
        env_files.insert(0, folder / STACK_ENV)
        values = _given(folder / STACK_ENV) | values
    problems = [*_unknown(values), *_vault_problems(values)]
    try:
        settings = Settings(_env_file=tuple(env_files))
    except ValidationError as error:
        problems = [*(_in_words(e) for e in error.errors()), *problems]
    if problems:
        raise SettingsError("settings are wrong:\n" + "\n".join(f"  {problem}" for problem in problems))
    return settings


def _given(env_file: Path) -> dict[str, str]:
    try:
        return {k: v for k, v in dotenv_values(env_file).items() if k.startswith(PREFIX) and v}
    except OSError:
        raise SettingsError(f"{env_file} cannot be read") from None


def _unknown(values: dict[str, str]) -> list[str]:
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    names = (name for name in values if name not in known and not name.startswith(KEY_PREFIX))
    return [f"{name}: there is no such setting{_meant(name, known)}" for name in sorted(names)]


def _meant(name: str, known: set[str]) -> str:
    close = get_close_matches(name, known, 1)
    return f"; {close[0]} is meant?" if close else ""


def _vault_problems(values: dict[str, str]) -> list[str]:
    """What no single field can tell; checked beside the fields, so that all mistakes are told at once."""
    url, token, role, k8s = (f"{PREFIX}VAULT_{name}" for name in ("URL", "TOKEN", "ROLE_ID", "K8S_ROLE"))
    secret = f"{PREFIX}VAULT_SECRET_ID"
    secrets = [
        name for name in (secret, f"{secret}_FILE", f"{secret}_WRAPPED", f"{secret}_WRAPPED_FILE") if name in values
    ]
    ways = [name for name in (token, role, k8s) if name in values]
    problems = []
    if len(secrets) > 1:
        problems.append(f"{' and '.join(secrets)} exclude each other")
    if bool(secrets) != (role in values):
        problems.append(f"{role} and {secret} go together (or {secret}_FILE, _WRAPPED or _WRAPPED_FILE)")
    elif len(ways) > 1:
        problems.append(f"{' and '.join(ways)} exclude each other")
    elif url in values and not ways:
        problems.append(f"{url} is set: give {token}, or {role} and {secret}, or {k8s}")
    return problems


def _in_words(error: Any) -> str:
    return f"{PREFIX}{str(error['loc'][0]).upper()}: {error['msg'].removeprefix('Value error, ')}"
