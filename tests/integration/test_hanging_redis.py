"""A Redis that accepts and never answers: a producer's caller waits for it once and briefly, and others not at all."""

import logging
import time
from collections.abc import Callable, Iterator
from urllib.parse import urlsplit

import pytest

from config.errors import ServiceUnavailableError
from config.redis_link import TIMEOUT_S, Patience
from config.settings import Settings
from jobs.kind import NewJob
from producer.handles import JobHandle
from producer.producer import Producer
from tests.conftest import Stack
from tests.support.front import Front
from tests.support.waiting import wait_for

GENEROUS_S = 5.0
"""One wait is of two seconds; with one after another and the libraries' repeats it was up to 16 s."""


@pytest.fixture
def front(stack: Stack) -> Iterator[Front]:
    with Front(urlsplit(stack.settings.redis_url).port or 0) as front:
        yield front


@pytest.fixture
def settings(stack: Stack, front: Front) -> Settings:
    plain = urlsplit(stack.settings.redis_url)
    url = f"redis://:{plain.password}@127.0.0.1:{front.port}{plain.path}"
    return Settings.model_validate({**stack.settings.model_dump(), "redis_url": url})


@pytest.fixture
def producer(settings: Settings) -> Iterator[Producer]:
    with Producer(settings) as producer:
        enqueue(producer)  # everything is connected
        yield producer


def enqueue(producer: Producer) -> JobHandle:
    return producer.enqueue("complete", {"prompt": "x"}, provider="groq")


def rows(producer: Producer) -> int:
    return int(producer.database.query("SELECT count(*) AS n FROM jobs")[0]["n"])


def refused_after_s(producer: Producer) -> float:
    began = time.monotonic()
    with pytest.raises(ServiceUnavailableError, match=r"Redis .* no answer in time"):
        enqueue(producer)
    return time.monotonic() - began


def test_one_waits_briefly_and_the_next_not_at_all(producer: Producer, front: Front, figures: list[str]) -> None:
    front.hangs = True
    first_s, second_s = refused_after_s(producer), refused_after_s(producer)
    assert first_s < GENEROUS_S
    assert second_s < TIMEOUT_S, "it asked nobody"
    assert rows(producer) == 1, "nothing was enqueued"
    front.hangs = False
    wait_for(lambda: accepted(producer), "a job that is accepted again")
    figures.append(
        f"Redis hangs: the first enqueue was refused after {first_s:.2f} s, the second after {second_s:.3f} s"
    )


def accepted(producer: Producer) -> bool:
    try:
        enqueue(producer)
    except ServiceUnavailableError:
        return False
    return True


def test_a_producer_that_starts_meanwhile(settings: Settings, front: Front) -> None:
    """It needs the providers as well: those it reads in Postgres."""
    front.hangs = True
    with Producer(settings) as producer:
        assert refused_after_s(producer) < GENEROUS_S


@pytest.mark.parametrize("batch", [False, True])
def test_it_hangs_between_the_question_and_the_message(
    producer: Producer, front: Front, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, batch: bool
) -> None:
    """The row is written, so the job is accepted; a sweeper sends its message."""
    hang_after(producer, "accept_batch" if batch else "accept_on", front, monkeypatch)
    began = time.monotonic()
    with caplog.at_level(logging.WARNING):
        if batch:
            assert producer.submit_batch("complete", [NewJob('{"prompt": "x"}')], provider="groq").is_new
        else:
            assert enqueue(producer).is_new
    assert time.monotonic() - began < GENEROUS_S
    assert "a worker will send it" in caplog.text
    assert rows(producer) == 2


def hang_after(producer: Producer, name: str, front: Front, monkeypatch: pytest.MonkeyPatch) -> None:
    done: Callable[..., object] = getattr(producer.ledger, name)

    def then_hang(*arguments: object) -> object:
        answer = done(*arguments)
        front.hangs = True
        return answer

    monkeypatch.setattr(producer.ledger, name, then_hang)


def test_who_waits_for_a_job_is_not_held_up(producer: Producer, front: Front) -> None:
    """It looks into the ledger instead of being told."""
    job = enqueue(producer)
    front.hangs = True
    producer.ledger.cancel_job(job.job_id)
    assert job.wait(20).state == "cancelled"


def test_patience_ends_after_a_while() -> None:
    now = [100.0]
    patience = Patience("redis://:pw@here:1/0", pause_s=5, clock=lambda: now[0])
    for reason in ("connection refused or cut", "no answer in time"):
        with pytest.raises(ServiceUnavailableError), patience.errors():
            raise ServiceUnavailableError("Redis", "here", reason)
    asked = False
    with pytest.raises(ServiceUnavailableError, match="no answer in time a moment ago"), patience.errors():
        asked = True
    assert not asked
    now[0] += 5
    with patience.errors():
        asked = True
    assert asked
