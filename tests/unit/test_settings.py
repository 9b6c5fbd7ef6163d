"""Settings: where they come from, and that every mistake is told at once without its value."""

from pathlib import Path

import pytest
import redis

from config.errors import SettingsError
from config.redis_tls import tls_options, without_options
from config.settings import PREFIX, Settings, address_of, load_settings


@pytest.fixture(autouse=True)
def _no_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    for name in list(os.environ):
        if name.startswith(PREFIX):
            monkeypatch.delenv(name)


def test_defaults_work_without_anything(tmp_path: Path) -> None:
    settings = load_settings(tmp_path)
    assert settings.redis_url == "redis://127.0.0.1:6379/0"
    assert settings.vault_url is None


def test_all_mistakes_are_reported_together_and_no_value_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    mistakes = {
        "TICKETFLOW_REDIS_URL": "http://user:s3cret@host",
        "TICKETFLOW_DATABASE_URL": "mysql://user:s3cret@host/db",
        "TICKETFLOW_LEASE_S": "s3cret",
        "TICKETFLOW_EGRESS_ALLOW_NETS": "10.0.0.0/8,s3cret",
        "TICKETFLOW_VAULT_TOKEN": "s3cret",
        "TICKETFLOW_VAULT_ROLE_ID": "s3cret",
        "TICKETFLOW_LOG_LEVLE": "s3cret",
    }
    for name, value in mistakes.items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError) as caught:
        load_settings(tmp_path)
    text = str(caught.value)
    for name in mistakes.keys() - {"TICKETFLOW_VAULT_TOKEN"}:
        assert name in text
    assert "TICKETFLOW_LOG_LEVEL is meant" in text
    assert "TICKETFLOW_VAULT_SECRET_ID go together" in text
    assert "s3cret" not in text


def test_vault_needs_credentials(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TICKETFLOW_VAULT_URL", "http://127.0.0.1:8200")
    with pytest.raises(SettingsError, match="give TICKETFLOW_VAULT_TOKEN, or"):
        load_settings(tmp_path)


def test_the_environment_wins_over_env_file_and_stack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / ".ticketflow").mkdir()
    stack = tmp_path / ".ticketflow" / "stack.env"
    stack.write_text("TICKETFLOW_REDIS_URL=redis://stack/0\nTICKETFLOW_DATABASE_URL=postgresql://stack/db\n")
    assert load_settings(tmp_path).redis_url == "redis://stack/0"
    (tmp_path / ".env").write_text("TICKETFLOW_LEASE_S=30\nOTHER=1\n")
    assert load_settings(tmp_path).redis_url == "redis://stack/0"
    assert load_settings(tmp_path).lease_s == 30
    monkeypatch.setenv("TICKETFLOW_REDIS_URL", "redis://mine/0")
    settings = load_settings(tmp_path)
    assert settings.redis_url == "redis://mine/0"
    assert "stack" not in settings.database_url, "a running stack is used whole or not at all"


def test_an_empty_value_stands_for_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TICKETFLOW_VAULT_URL", "")
    monkeypatch.setenv("TICKETFLOW_LEASE_S", "")
    assert load_settings(tmp_path).lease_s == Settings.model_fields["lease_s"].default


def test_nothing_secret_is_printed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TICKETFLOW_REDIS_URL", "redis://:s3cret@host/0")
    monkeypatch.setenv("TICKETFLOW_DATABASE_URL", "postgresql://u:s3cret@host/db")
    monkeypatch.setenv("TICKETFLOW_VAULT_URL", "https://vault")
    monkeypatch.setenv("TICKETFLOW_VAULT_TOKEN", "s3cret")
    settings = load_settings(tmp_path)
    assert "s3cret" not in repr(settings) + str(settings)


def test_settings_cannot_be_changed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="frozen"):
        setattr(load_settings(tmp_path), "lease_s", 3)  # noqa: B010 - the type checker refuses the plain way


@pytest.mark.parametrize(
    ("url", "shown"),
    [
        ("redis://:pw@host:6379/0?x=pw", "host:6379/0"),
        ("postgresql://u:pw@[::1]:5432/db", "::1:5432/db"),
        ("https://vault.example.com/", "vault.example.com"),
        ("redis://host:notaport/0", "host/0"),
    ],
)
def test_addresses_in_messages_carry_no_credentials(url: str, shown: str) -> None:
    assert address_of(url) == shown


def test_every_setting_is_in_the_example_file_with_its_default() -> None:
    text = (Path(__file__).parents[2] / ".env.example").read_text(encoding="utf-8")
    lines = dict(line.lstrip("# ").split("=", 1) for line in text.splitlines() if PREFIX in line and "=" in line)
    expected = {}
    for name, field in Settings.model_fields.items():
        default = field.default
        expected[PREFIX + name.upper()] = "" if default in (None, ()) else str(default)
    assert lines == expected


VAULT = {"TICKETFLOW_VAULT_URL": "http://localhost:8200"}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({}, "give TICKETFLOW_VAULT_TOKEN, or TICKETFLOW_VAULT_ROLE_ID and"),
        (
            {"TOKEN": "t", "ROLE_ID": "r", "SECRET_ID": "s"},
            "VAULT_TOKEN and TICKETFLOW_VAULT_ROLE_ID exclude each other",
        ),
        ({"ROLE_ID": "r", "SECRET_ID": "s", "K8S_ROLE": "w"}, "ROLE_ID and TICKETFLOW_VAULT_K8S_ROLE exclude"),
        ({"ROLE_ID": "r"}, "ROLE_ID and TICKETFLOW_VAULT_SECRET_ID go together"),
        ({"SECRET_ID_FILE": "f", "TOKEN": "t"}, "ROLE_ID and TICKETFLOW_VAULT_SECRET_ID go together"),
        ({"ROLE_ID": "r", "SECRET_ID": "s", "SECRET_ID_WRAPPED": "w"}, "SECRET_ID_WRAPPED exclude each other"),
        ({"ROLE_ID": "r", "SECRET_ID": "s", "AUTH_MOUNT": "../x"}, "AUTH_MOUNT: must be letters"),
    ],
)
def test_one_way_to_log_in(monkeypatch: pytest.MonkeyPatch, given: dict[str, str], words: str) -> None:
    for name, value in (VAULT | {f"TICKETFLOW_VAULT_{key}": value for key, value in given.items()}).items():
        monkeypatch.setenv(name, value)
    with pytest.raises(SettingsError, match=words):
        load_settings()


@pytest.mark.parametrize(
    "given",
    [
        {"TOKEN": "t"},
        {"ROLE_ID": "r", "SECRET_ID": "s"},
        {"ROLE_ID": "r", "SECRET_ID_FILE": "f"},
        {"ROLE_ID": "r", "SECRET_ID_WRAPPED": "w", "AUTH_MOUNT": "team-a"},
        {"K8S_ROLE": "w"},
    ],
)
def test_ways_to_log_in(monkeypatch: pytest.MonkeyPatch, given: dict[str, str]) -> None:
    for name, value in (VAULT | {f"TICKETFLOW_VAULT_{key}": value for key, value in given.items()}).items():
        monkeypatch.setenv(name, value)
    load_settings()


@pytest.mark.parametrize(
    ("url", "words"),
    [
        ("rediss://host?ssl_cert_reqs=CERT_NONE", "ssl_cert_reqs is required or none"),
        ("rediss://host?ssl_cert_reqs=", "ssl_cert_reqs is required or none"),
        ("rediss://host?ssl_check_hostname=0", "ssl_check_hostname is true or false"),
        ("rediss://host?ssl_ca=/ca.pem", "only these options after the .: ssl_ca_certs, "),
        ("rediss://host?password=s3cret", "only these options"),
        ("redis://host?ssl_cert_reqs=none", "only with rediss://"),
        ("redis://host/0?socket_timeout=1", "only with rediss://"),
    ],
)
def test_an_option_of_tls_that_is_none_is_told(
    url: str, words: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Redis-py and kombu would each make something else of it, and one of them would check nothing."""
    monkeypatch.setenv("TICKETFLOW_REDIS_URL", url)
    with pytest.raises(SettingsError, match=f"TICKETFLOW_REDIS_URL: .*{words}") as caught:
        load_settings(tmp_path)
    assert "s3cret" not in str(caught.value)


def test_options_of_tls_are_read_as_redis_py_reads_them() -> None:
    required = {"ssl_cert_reqs": "required", "ssl_check_hostname": True}
    assert tls_options("redis://host/0") == {}
    assert tls_options("rediss://host/0") == required
    given = "rediss://:p%2Fw@host:1/2?ssl_ca_certs=%2Fa%20b%2Fca.pem&ssl_check_hostname=False"
    assert (
        tls_options(given)
        == parse_options(given)
        == required
        | {
            "ssl_ca_certs": "/a b/ca.pem",
            "ssl_check_hostname": False,
        }
    )
    assert without_options(given) == "rediss://:p%2Fw@host:1/2"


def parse_options(url: str) -> dict[str, object]:
    """By redis-py itself."""
    made = redis.ConnectionPool.from_url(url).make_connection()
    assert isinstance(made, redis.SSLConnection)
    return {"ssl_ca_certs": made.ca_certs, "ssl_check_hostname": made.check_hostname, "ssl_cert_reqs": "required"}
