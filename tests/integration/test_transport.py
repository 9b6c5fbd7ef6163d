"""Kombu's transport with real Redis: what ends a worker of kombu's own transport does not end one of ours."""

import logging
import tempfile
from pathlib import Path

import pytest

from config.broker import RUN_JOBS, make_app
from config.redis_link import connect_redis
from config.redis_names import BULK_QUEUE
from tests.conftest import Stack


def test_a_connection_that_was_collected_can_be_closed_with_messages_in_hand(stack: Stack) -> None:
    app = make_app(stack.settings)
    for _ in range(2):
        app.send_task(RUN_JOBS, args=["groq", []], queue=BULK_QUEUE)
    connection = app.connection_for_read()
    queue = app.amqp.queues[BULK_QUEUE](connection.default_channel)
    first, second = queue.get(), queue.get()
    assert first is not None
    assert second is not None
    connection.transport.client = None  # as kombu leaves it, when Redis has gone away
    connection.close()
    first.ack()
    second.reject(requeue=True)
    app.close()


def test_messages_in_hand_are_remembered_by_the_process_alone_and_go_back_when_it_stops(stack: Stack) -> None:
    client, app = connect_redis(stack.settings.redis_url), make_app(stack.settings)
    for number in range(3):
        app.send_task(RUN_JOBS, args=["groq", [str(number)]], queue=BULK_QUEUE)
    with app.connection_for_read() as connection:
        queue = app.amqp.queues[BULK_QUEUE](connection.default_channel)
        done, back, in_hand = queue.get(), queue.get(), queue.get()
        assert done is not None
        assert back is not None
        assert in_hand is not None
        assert (client.llen(BULK_QUEUE), client.exists("unacked", "unacked_index")) == (0, 0)
        done.ack()
        back.reject(requeue=True)
        assert client.llen(BULK_QUEUE) == 1
    with app.connection_for_read() as connection:
        queue = app.amqp.queues[BULK_QUEUE](connection.default_channel)
        got = [message for message in (queue.get(), queue.get(), queue.get()) if message]
        assert sorted(message.decode()[0][1] for message in got) == [["1"], ["2"]]
        for message in got:
            message.ack()
    assert client.llen(BULK_QUEUE) == 0
    client.close()
    app.close()


def test_what_cannot_be_put_back_is_dropped(
    stack: Stack, caplog: pytest.LogCaptureFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    client, app = connect_redis(stack.settings.redis_url), make_app(stack.settings)
    app.send_task(RUN_JOBS, args=["groq", []], queue=BULK_QUEUE)
    with app.connection_for_read() as connection:
        assert app.amqp.queues[BULK_QUEUE](connection.default_channel).get() is not None
        client.config_set("maxmemory", 1)
        try:
            with caplog.at_level(logging.WARNING):
                connection.close()
        finally:
            client.config_set("maxmemory", 0)
    assert "1 messages were not put back (OutOfMemoryError)" in caplog.text
    assert list(tmp_path.iterdir()) == [], "kombu writes them to a file"
    client.close()
    app.close()


@pytest.mark.parametrize("junk", [b"this is no JSON", b"\xff\xfe", b"17", b"null", b'{"body": "no headers"}'])
def test_what_is_no_message_is_passed_over(stack: Stack, junk: bytes, caplog: pytest.LogCaptureFixture) -> None:
    client, app = connect_redis(stack.settings.redis_url), make_app(stack.settings)
    client.lpush(BULK_QUEUE, junk)
    app.send_task(RUN_JOBS, args=["groq", []], queue=BULK_QUEUE)
    received: list[object] = []
    with (
        app.connection_for_read() as connection,
        connection.Consumer(app.amqp.queues[BULK_QUEUE], accept=["json"], no_ack=True) as c,
    ):
        c.register_callback(lambda body, _: received.append(body))
        with caplog.at_level(logging.WARNING):
            while not received:
                connection.drain_events(timeout=10)
    assert "is no message of ours and was dropped" in caplog.text
    assert client.llen(BULK_QUEUE) == 0
    client.close()
    app.close()


def test_messages_go_on_when_the_channel_has_lost_its_connection(stack: Stack) -> None:
    client, app = connect_redis(stack.settings.redis_url), make_app(stack.settings)
    app.send_task(RUN_JOBS, args=["groq", []], queue=BULK_QUEUE)
    client.client_kill_filter(_type="normal", skipme=True)
    app.send_task(RUN_JOBS, args=["groq", []], queue=BULK_QUEUE)
    with app.producer_pool.acquire(block=True) as producer:
        assert producer.connection is not None
        producer.connection.collect()
    app.send_task(RUN_JOBS, args=["groq", []], queue=BULK_QUEUE)
    assert client.llen(BULK_QUEUE) == 3
    client.close()
    app.close()
