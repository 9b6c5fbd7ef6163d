"""Only workers read keys and reach providers: checks and lists of models are jobs, and say so with no worker alive."""

import json
import os
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from tests.conftest import Stack
from tests.integration.test_command import Command
from tests.support.llm_server import LLMServer
from tests.support.workers import WorkerProcess

KEY = "sk-check-0123456789"


@pytest.fixture
def ticketflow(stack: Stack, tmp_path: Path) -> Command:
    return Command(stack.operator_environment, tmp_path)


@pytest.fixture
def worker(stack: Stack, tmp_path: Path) -> Iterator[WorkerProcess]:
    with WorkerProcess(stack.worker_environment, tmp_path / "worker.log") as worker:
        yield worker


@pytest.fixture
def endpoint() -> Iterator[Callable[[dict[str, tuple[int, Any]]], str]]:
    """A server that answers by path, over HTTP, as it is told."""
    servers = []

    def start(answers: dict[str, tuple[int, Any]]) -> str:
        class Handler(BaseHTTPRequestHandler):
            def _answer(self) -> None:
                self.rfile.read(int(self.headers.get("Content-Length", 0)))
                status, document = answers.get(self.path, (404, {}))
                body = json.dumps(document).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_GET = do_POST = _answer  # noqa: N815 - the library's names

            def log_message(self, *_: object) -> None:
                """Silent."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        thread = Thread(target=server.serve_forever, args=(0.02,))
        thread.start()
        servers.append((server, thread))
        return f"http://127.0.0.1:{server.server_port}/v1"

    yield start
    for server, thread in servers:
        server.shutdown()
        thread.join()
        server.server_close()


def add(ticketflow: Command, url: str, *more: str, model: str = "gpt-4o") -> str:
    provider_id = f"custom-{os.urandom(4).hex()}"
    done = ticketflow(
        *("providers", "add", "--id", provider_id, "--name", provider_id[-8:], "--base-url", url),
        *("--model", model, "--no-check", *more),
    )
    assert done.status == 0, done.err
    return provider_id


def steps(report: dict[str, Any]) -> dict[str, bool]:
    return {step["step"]: step["ok"] for step in report["steps"]}


@pytest.mark.usefixtures("worker")
def test_a_provider_that_works(ticketflow: Command, llm: LLMServer) -> None:
    llm.reset()
    provider_id = add(ticketflow, llm.openai_url)
    report = ticketflow("providers", "check", provider_id, "--json")
    assert (report.status, report.document["ok"]) == (0, True)
    assert steps(report.document) == {"key": True, "reach": True, "models": True, "call": True}
    assert all(isinstance(step["duration_ms"], int) for step in report.document["steps"])
    assert len([r for r in llm.requests() if r["path"].endswith("/chat/completions")]) == 1
    ticketflow("providers", "set-key", provider_id, given=KEY)
    shown = ticketflow("providers", "check", provider_id)
    assert "version 1" in shown.out
    assert "gpt-4o answered" in shown.out
    (job,) = ticketflow("jobs", "list", "--provider", provider_id, "--limit", "1", "--json").document["jobs"]
    assert (job["kind"], job["attempts"], job["key_version"]) == ("check_provider", 1, 1), "a call like any other"
    ticketflow("providers", "disable", provider_id)
    assert ticketflow("providers", "check", provider_id).status == 0, "before it is enabled again"


@pytest.mark.usefixtures("worker")
def test_what_is_wrong_is_named_step_by_step(
    ticketflow: Command, endpoint: Callable[[dict[str, tuple[int, Any]]], str]
) -> None:
    chat = "/v1/chat/completions"
    answer = {"choices": [{"message": {"content": "OK"}, "finish_reason": "stop"}]}
    cut = {"choices": [{"message": {"content": ""}, "finish_reason": "length"}]}

    def checked(answers: dict[str, tuple[int, Any]], model: str = "m") -> Any:
        done = ticketflow("providers", "check", add(ticketflow, endpoint(answers), model=model), "--json")
        assert (done.status, done.document["ok"]) in {(0, True), (1, False)}
        return done.document

    bare = checked({chat: (200, answer)})
    assert (bare["ok"], "lists none" in bare["steps"][2]["detail"]) == (True, True)
    thinking = checked({chat: (200, cut)})
    assert thinking["ok"], "a model that thinks longer than the tiny call allows does answer"
    refused = checked({"/v1/models": (401, {}), chat: (200, answer)})
    assert (steps(refused), "it wants a key: run `ticketflow" in refused["steps"][-1]["detail"]) == (
        {"key": True, "reach": True, "models": False},
        True,
    )
    unknown = checked({"/v1/models": (200, {"data": [{"id": "other"}]}), chat: (404, {"error": {"code": "no_model"}})})
    assert steps(unknown) == {"key": True, "reach": True, "models": True, "call": False}
    assert "m is not among them" in unknown["steps"][2]["detail"]
    assert "no_model" in unknown["steps"][3]["detail"]
    gone = ticketflow("providers", "check", add(ticketflow, "http://127.0.0.1:9/v1"), "--json").document
    assert steps(gone) == {"key": True, "reach": False}
    keyless = ticketflow("providers", "check", "groq", "--json").document
    assert keyless["steps"][0]["ok"] is False
    assert "set-key groq" in keyless["steps"][0]["detail"]
    assert set(steps(keyless)) == {"key", "reach"}, "whether it can be reached is worth knowing without a key"


@pytest.mark.usefixtures("worker")
def test_models_are_listed_and_stored(
    ticketflow: Command, endpoint: Callable[[dict[str, tuple[int, Any]]], str]
) -> None:
    data = [{"id": "b", "max_model_len": 4096}, {"id": "a"}]
    provider_id = add(ticketflow, endpoint({"/v1/models": (200, {"data": data})}))
    listed = ticketflow("providers", "models", provider_id, "--json")
    assert [model["id"] for model in listed.document["models"]] == ["a", "b"]
    assert "gpt-4o is not among them" in listed.err
    assert ticketflow("providers", "show", provider_id, "--json").document["models"] == []
    saved = ticketflow("providers", "models", provider_id, "--save", "--json").document
    shown = ticketflow("providers", "show", provider_id, "--json").document
    assert (shown["generation"], shown["models"]) == (saved["generation"], saved["models"])
    assert shown["models"][1]["context_window_tokens"] == 4096
    none = ticketflow("providers", "models", add(ticketflow, endpoint({})), "--json")
    assert (none.status, none.document["error"]["type"]) == (1, "JobFailedError")


@pytest.mark.usefixtures("worker")
def test_a_new_provider_is_checked_at_once(ticketflow: Command, llm: LLMServer) -> None:
    url = ("--base-url", llm.openai_url, "--model", "gpt-4o", "--json")
    added = ticketflow("providers", "add", "--name", f"n{os.urandom(4).hex()}", *url)
    assert (added.status, added.document["check"]["ok"]) == (0, True)
    assert "gpt-4o answered" in added.err
    broken = ticketflow("providers", "add", "--name", "B", "--base-url", "http://127.0.0.1:9/v1", *url[2:])
    assert (broken.status, broken.document["check"]["ok"]) == (0, False), "it is added all the same, and may be mended"
    assert "FAIL" in broken.err


def test_with_no_worker_alive_it_says_so(ticketflow: Command, llm: LLMServer) -> None:
    llm.reset()
    provider_id = add(ticketflow, llm.openai_url)
    for command in ("check", "models"):
        done = ticketflow("providers", command, provider_id, "--json")
        assert (done.status, done.document["error"]["type"]) == (3, "NoWorkerError")
        assert "no worker process is running" in done.err
    assert ticketflow("jobs", "list", "--json").document["jobs"] == [], "nothing is left to run later"
    url = ("--base-url", llm.openai_url, "--model", "m", "--json")
    added = ticketflow("providers", "add", "--name", "Unchecked", *url)
    assert (added.status, added.document["check"], "not checked" in added.err) == (0, None, True)
    assert ticketflow("providers", "check", "custom-nobody").status == 2


def test_limits_and_capabilities_are_options(ticketflow: Command) -> None:
    limits = ("--requests-per-minute", "60", "--tokens-per-minute", "1000", "--calls-in-flight", "4")
    provider_id = add(ticketflow, "http://localhost:9/v1", "--multimodal", *limits)
    shown = ticketflow("providers", "show", provider_id, "--json").document
    assert shown["limits"] == {"requests_per_minute": 60, "tokens_per_minute": 1000, "calls_in_flight": 4}
    assert shown["capabilities"] == {"structured_output": False, "multimodal": True}
    ticketflow("providers", "set", provider_id, "--tokens-per-minute", "0", "--no-multimodal")
    shown = ticketflow("providers", "show", provider_id, "--json").document
    assert shown["limits"] == {"requests_per_minute": 60, "tokens_per_minute": None, "calls_in_flight": 4}
    assert shown["capabilities"]["multimodal"] is False
