"""What a stack runs: the commands, and who gets which credential."""

from pathlib import Path

import pytest

from config.settings import PREFIX
from embedded.programs import celery_programs
from embedded.servers import EmbeddedServers

ADDRESSES = {
    "TICKETFLOW_REDIS_URL": "redis://:pw-redis@127.0.0.1:1/0",
    "TICKETFLOW_DATABASE_URL": "postgresql://ticketflow:pw-postgres@127.0.0.1:2/ticketflow",
    "TICKETFLOW_VAULT_URL": "http://127.0.0.1:3",
}
WORKER = ADDRESSES | {"TICKETFLOW_VAULT_ROLE_ID": "role", "TICKETFLOW_VAULT_SECRET_ID": "pw-vault"}


@pytest.fixture
def servers(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> EmbeddedServers:
    """Servers that need not run for this."""
    monkeypatch.setattr(EmbeddedServers, "worker_environment", WORKER)
    monkeypatch.setattr(EmbeddedServers, "redis_url", ADDRESSES["TICKETFLOW_REDIS_URL"])
    for name in ("TICKETFLOW_VAULT_TOKEN", "TICKETFLOW_VAULT_MOUNT", "TICKETFLOW_KEY_GROQ", "VAULT_TOKEN", "BAO_TOKEN"):
        monkeypatch.setenv(name, "outer")
    monkeypatch.setenv("TICKETFLOW_LEASE_S", "5")
    return EmbeddedServers(tmp_path, persistent=False)


def test_workers_get_the_rights_of_workers(servers: EmbeddedServers) -> None:
    first, second = celery_programs(servers, 2, None)
    assert (first.name, second.name) == ("worker 1", "worker 2")
    assert " ".join(first.argv[1:]) == (
        "-m celery -A worker.app worker -P threads -n w1@%h -Q interactive,bulk"
        " --without-gossip --without-mingle -l INFO"
    )
    ours = {name: value for name, value in first.env.items() if name.startswith(PREFIX)}
    assert ours == WORKER | {"TICKETFLOW_LEASE_S": "5", "TICKETFLOW_KEY_GROQ": "outer"}
    assert "PATH" in first.env
    assert first.essential


def test_flower_gets_redis_and_nothing_of_vault(servers: EmbeddedServers) -> None:
    flower = celery_programs(servers, 0, 5555)[-1]
    assert {"--address=127.0.0.1", "--port=5555", "--read_only=True"} <= set(flower.argv)
    ours = {name: value for name, value in flower.env.items() if name.startswith(PREFIX)}
    assert ours == {"TICKETFLOW_REDIS_URL": ADDRESSES["TICKETFLOW_REDIS_URL"], "TICKETFLOW_LEASE_S": "5"}
    assert not {"VAULT_TOKEN", "BAO_TOKEN"} & set(flower.env)
    assert not flower.essential


def test_no_secret_is_in_a_command_or_a_repr(servers: EmbeddedServers) -> None:
    for program in celery_programs(servers, 1, 5555):
        assert "pw-" not in repr(program) + repr(program.argv)
