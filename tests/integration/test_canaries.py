"""Keys and tickets that nobody could mistake go through a day of the whole system; then every byte it left is searched.

Keys belong in Vault, in the memory of workers and in requests to their provider; texts of tickets and answers in
Postgres and in results. The ids of providers may be seen, and show that the search finds what is there.
"""

import base64
import json
import signal
from collections.abc import Collection
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from config.errors import TicketflowError
from config.keys import open_keys
from config.providers import parse_provider
from config.settings import PREFIX, Settings
from embedded.servers import EmbeddedServers
from jobs.migrate import migrate
from producer.handles import BatchHandle, JobHandle
from producer.producer import Producer
from tests.integration.canary_day import MODELS, Day
from tests.integration.test_outages import killed_and_restarted
from tests.integration.test_procfile import honcho
from tests.support.canaries import Canary, files_in
from tests.support.llm_server import LLMServer
from tests.support.mirror_server import FAULTS, MirrorServer
from tests.support.processes import needs_proc
from tests.support.waiting import wait_for
from tests.support.witnesses import ProcessWitness, RedisWitness

pytestmark = [needs_proc, pytest.mark.timeout(300)]

SHOW_IDS = (
    "redis", "redis-files", "postgres-rows", "postgres-rest", "postgres-files", "worker-logs", "flower", "processes",
    "commands", "results", "errors", "temporary",
)  # fmt: skip
PLACES = (*SHOW_IDS, "vault-files", "server-logs")
TEXTS_BELONG = {"postgres-rows", "postgres-files", "results"}
SERVERS_FILES = {"redis-files": "valkey", "postgres-files": "postgres", "vault-files": "openbao", "server-logs": "logs"}

SDKS = ("google-genai", "google-generativeai")
SUBMIT = ("batch", "submit", "-", "--kind", "summarise_ticket", "--wait", "--results", "results.jsonl", "--provider")
ORPHANS = 20
"""Calls in flight when a worker is killed."""


@pytest.fixture(scope="module")
def day(tmp_path_factory: pytest.TempPathFactory) -> Day:
    """The day, when it is over: nothing runs any more, and all files are written."""
    folder = tmp_path_factory.mktemp("canaries")
    with ExitStack() as stack:
        servers = stack.enter_context(EmbeddedServers(folder / "servers", persistent=True))
        migrate(servers.database_url)
        given = {name.removeprefix(PREFIX).lower(): value for name, value in servers.operator_environment.items()}
        llm, mirror = stack.enter_context(LLMServer()), stack.enter_context(MirrorServer())
        producer = stack.enter_context(Producer(Settings.model_validate(given)))
        day = Day(folder, servers, llm, mirror, producer, secrets_of(servers))
        day.file("temporary", "planted").write_text(day.ids.tag)  # workers are not expected to write there at all
        stack.enter_context(RedisWitness(servers.redis_url, day.file("redis", "commands")))
        stack.enter_context(ProcessWitness(day.file("processes", "seen")))
        live(day)
        day.save_rows()
    return day


def secrets_of(servers: EmbeddedServers) -> tuple[str, ...]:
    """What opens the services: passwords and credentials of Vault."""
    operator, worker = servers.operator_environment, servers.worker_environment
    passwords = (str(urlsplit(url).password) for url in (servers.redis_url, servers.database_url))
    return (*passwords, operator["TICKETFLOW_VAULT_TOKEN"], worker["TICKETFLOW_VAULT_SECRET_ID"])


def live(day: Day) -> None:
    """The day itself."""
    unreadable = prepare(day)
    day.script()
    environment = {"TICKETFLOW_REDIS_URL": day.servers.redis_url, "FLOWER_DEBUG": "true"}
    with honcho(environment, day.file("flower", "log"), "flower") as flower:
        with day.worker("first", "threads", SDKS[0]) as first:
            wait_for(lambda: flower.page("/healthcheck").status == 200, "Flower", 30)
            successes_and_failures(day, MODELS)
            day.note_failure(unreadable)
            rotation_at_work(day)
            vault_away(day)
            commands(day)
            day.save_pages(flower, "first")
            orphans = calls_in_flight(day)
            first.kill()
        with day.worker("second", "processes", SDKS[1]):
            successes_and_failures(day, ["gemini"])
            assert orphans.wait(60).succeeded == ORPHANS
            day.save_pages(flower, "second")


def prepare(day: Day) -> JobHandle:
    """Providers of all types, one that works and one for each fault; and a job whose input will not be readable."""
    for provider_type, url in day.urls().items():
        day.add(provider_type, provider_type, url)
        for fault in FAULTS:
            day.add(f"{provider_type}-{fault}", provider_type, f"{day.mirror.url}/{fault}")
        day.add(f"{provider_type}-away", provider_type, "http://127.0.0.1:1", heard=False)
    unsendable = day.add("unsendable", "groq", day.mirror.url, heard=False)
    open_keys(day.producer.settings).store(unsendable, f"{day.keys.key()}ä")
    refusals(day)
    job = day.enqueue(day.named("groq"))
    bad = {"id": job.job_id, "input": json.dumps({"id": 7, "subject": [day.texts.tag]})}
    day.producer.database.query("UPDATE jobs SET input = %(input)s WHERE id = %(id)s", bad)
    return job


def refusals(day: Day) -> None:
    """Keys where no key belongs."""
    key = day.keys.key()
    for extra in (
        {"base_url": f"https://user:{key}@example.com/v1"},
        {"base_url": f"https://example.com/v1?key={key}"},
        {"base_url": "https://example.com", "api_key": key},
        {"base_url": "https://example.com", "timeout_s": key},
    ):
        fields = {"id": day.named("x"), "name": "x", "type": "groq", "default_model": "m", **extra}
        with pytest.raises(TicketflowError) as refused:
            day.producer.providers.add(parse_provider(fields))
        day.note_error(refused.value)


def successes_and_failures(day: Day, types: Collection[str]) -> None:
    """Every provider of some types gets work, and ends it as it should."""
    good = [day.enqueue(day.named(provider_type)) for provider_type in types]
    faults = [f"{provider_type}-{fault}" for provider_type in types for fault in (*FAULTS, "away")]
    for job in [day.enqueue(day.named(name)) for name in (*faults, "unsendable")]:
        day.note_failure(job)
    assert [job.wait(60).state for job in good] == ["succeeded"] * len(types)


def rotation_at_work(day: Day) -> None:
    """New keys for all, one of them through the command, while batches go on."""
    day.script({"type": "delay", "seconds": 0.1, "times": None})
    batches = [
        day.producer.submit_batch("summarise_ticket", day.tickets(60), provider=day.named(provider_type))
        for provider_type in MODELS
    ]
    for provider_type in ("groq", "gemini"):
        day.set_key(day.named(provider_type))
    key = day.keys.key()
    done = day.command("providers", "set-key", day.named("openai-compatible"), "--json", given=f"{key}\n")
    day.used[day.named("openai-compatible"), done.document["key_version"]] = key
    assert [batch.wait(60).succeeded for batch in batches] == [60] * len(MODELS)
    assert [day.enqueue(day.named(name)).wait(60).key_version for name in MODELS] == [2] * len(MODELS)
    day.script()


def vault_away(day: Day) -> None:
    """Known keys serve on while Vault is down; a key that no worker has read is waited for."""
    late = day.add("late", "groq", day.llm.groq_url)
    (vault,) = (member for member in day.servers.members if member.name == "OpenBao")
    assert vault.process is not None
    vault.process.send(signal.SIGKILL)
    jobs = [day.enqueue(provider_id) for provider_id in (day.named("groq"), late)]
    assert jobs[0].wait(60).state == "succeeded"
    killed_and_restarted(vault)
    assert jobs[1].wait(60).state == "succeeded"


def commands(day: Day) -> None:
    """What an operator runs; a key among it is refused or goes in by standard input."""
    key, works, fails = day.keys.key(), day.named("openai-compatible"), day.named("groq-unauthorized")
    ticket = json.dumps(day.ticket("t"))
    expected: dict[tuple[str, ...], tuple[str, int]] = {
        ("providers", "set-key", works): (f"{key} {key}", 2),
        ("providers", "import", "-"): (f'["{works}"]\napi_key = "{key}"\n', 2),
        ("providers", "list"): ("", 0),
        ("providers", "check", fails): ("", 1),
        ("providers", "models", works): ("", 0),
        ("providers", "export"): ("", 0),
        ("jobs", "list"): ("", 0),
        ("doctor",): ("", 1),
        ("enqueue", "summarise_ticket", "--wait", "60", "--provider", fails): (ticket, 1),
        (*SUBMIT, works): (f"{ticket}\n", 0),
    }
    with ThreadPoolExecutor(2) as pool:
        ran = pool.map(lambda arguments: day.command(*arguments, given=expected[arguments][0]), expected)
    assert [done.status for done in ran] == [status for _, status in expected.values()]
    (job,) = (json.loads(line) for line in day.file("results", "results.jsonl").read_text().splitlines())
    for arguments in (("jobs", "show", job["job_id"]), ("batch", "results", job["batch_id"], "--output", "-")):
        assert day.command(*arguments, place="results").status == 0


def calls_in_flight(day: Day) -> BatchHandle:
    """A batch with calls under way, for a worker to die with."""
    day.script({"type": "delay", "seconds": 4, "times": ORPHANS})
    batch = day.producer.submit_batch("summarise_ticket", day.tickets(ORPHANS), provider=day.named("openai-compatible"))
    under_way = "SELECT 1 FROM calls WHERE finished_at IS NULL"
    wait_for(lambda: len(day.producer.database.query(under_way)) == ORPHANS, "calls in flight")
    return batch


def traces(day: Day, place: str) -> list[Path]:
    """The files of a place."""
    folder = day.servers.folder / SERVERS_FILES[place] if place in SERVERS_FILES else day.folder / place
    return files_in(folder)


@pytest.mark.parametrize("before", ["", "a", "ab", "Bearer "])
def test_the_search_finds_a_key_in_disguise(tmp_path: Path, before: str) -> None:
    canary, file = Canary(), tmp_path / "file"
    said = f"{before}{canary.key()}".encode()
    for disguised in (said, base64.b64encode(said), base64.urlsafe_b64encode(said), said.hex().encode()):
        file.write_bytes(b"x" + disguised + b"y")
        assert canary.found([file])
        assert Canary().found([file]) == []


def test_every_key_reached_its_provider(day: Day) -> None:
    heard = "\n".join((*day.llm.heard, *day.mirror.heard))
    assert [name for name, key in day.used.items() if key not in heard] == []
    assert {version for _, version in day.used} == {1, 2}
    assert all(sdk in heard for sdk in ("AsyncOpenAI/", "AsyncGroq/", "google-genai-sdk/", "gapic/"))


@pytest.mark.parametrize("place", PLACES)
def test_no_key_is_there(day: Day, place: str) -> None:
    assert day.keys.found(traces(day, place)) == []


@pytest.mark.parametrize("place", [place for place in PLACES if place not in TEXTS_BELONG])
def test_no_text_of_a_ticket_is_there(day: Day, place: str) -> None:
    assert day.texts.found(traces(day, place)) == []


@pytest.mark.parametrize("place", [place for place in PLACES if place not in ("processes", *SERVERS_FILES)])
def test_no_password_of_a_service_is_there(day: Day, place: str) -> None:
    for secret in day.secrets:
        assert Canary(secret).found(traces(day, place)) == []


@pytest.mark.parametrize("place", SHOW_IDS)
def test_the_search_finds_what_may_be_there(day: Day, place: str) -> None:
    assert day.ids.found(traces(day, place))


def test_the_search_finds_texts_where_they_belong(day: Day) -> None:
    for place in TEXTS_BELONG:
        assert day.texts.found(traces(day, place))
    written_ahead = [file for file in traces(day, "postgres-files") if file.parent.name == "pg_wal"]
    assert day.texts.found(written_ahead)
    assert any("base64" in where for where in day.ids.found(traces(day, "redis-files"))), "messages of the queue"
