"""TLS to Redis: whoever cannot prove who it is gets no word of ours, from any client that we have."""

import asyncio
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from ssl import CERT_REQUIRED, SSLContext
from urllib.parse import urlsplit

import pytest
from flower.utils.broker import Broker  # type: ignore[import-untyped]

from config.broker import make_app
from config.errors import ServiceUnavailableError
from config.redis_link import connect_redis, redis_errors
from config.redis_names import INTERACTIVE_QUEUE
from config.settings import Settings
from jobs.dispatch import Dispatcher
from jobs.hints import Hint
from jobs.ids import new_id
from jobs.ledger import Ledger
from producer.producer import Producer
from tests.conftest import Stack
from tests.support.certificates import Authority, self_signed
from tests.support.front import Front
from tests.support.waiting import wait_for
from tests.support.workers import WorkerProcess

Ask = Callable[[Settings], None]
HERE = ("127.0.0.1", "localhost")


@pytest.fixture
def authority(tmp_path: Path) -> Authority:
    return Authority(tmp_path)


@contextmanager
def served(stack: Stack, context: SSLContext) -> Iterator[str]:
    """The real Redis behind TLS (the wheel's own speaks none); its URL without options."""
    plain = urlsplit(stack.settings.redis_url)
    with Front(plain.port or 0, ssl=context) as front:
        yield f"rediss://:{plain.password}@127.0.0.1:{front.port}{plain.path}"


def with_url(stack: Stack, url: str) -> Settings:
    return Settings.model_validate({**stack.settings.model_dump(), "redis_url": url})


def by_redis_py(settings: Settings) -> None:
    client = connect_redis(settings.redis_url)
    try:
        with redis_errors(settings.redis_url):
            client.ping()
    finally:
        client.close()


def by_kombu(settings: Settings) -> None:
    with Producer(settings) as producer:
        dispatcher = Dispatcher(make_app(settings), Ledger(producer.database), settings)
        try:
            dispatcher.send(Hint("groq", INTERACTIVE_QUEUE, (new_id(),)))
        finally:
            dispatcher.close()


def by_flower(settings: Settings) -> None:
    """As its page of the broker does; what else it reads comes over kombu."""
    app = make_app(settings)
    url = app.connection_for_read().as_uri(include_password=True)
    options = {"broker_options": app.conf.broker_transport_options, "broker_use_ssl": app.conf.broker_use_ssl}
    with redis_errors(settings.redis_url):
        asyncio.run(Broker(url, **options).queues([INTERACTIVE_QUEUE]))
    app.close()


CLIENTS = pytest.mark.parametrize("ask", [by_redis_py, by_kombu, by_flower])
REFUSED = r"Redis at 127\.0\.0\.1.* certificate is not accepted \(%s.*%s"


@CLIENTS
def test_a_certificate_that_nobody_vouches_for(stack: Stack, tmp_path: Path, ask: Ask) -> None:
    with served(stack, self_signed(tmp_path, *HERE)) as url:
        with pytest.raises(ServiceUnavailableError, match=REFUSED % ("self-signed", "ssl_ca_certs=/path")):
            ask(with_url(stack, url))
        ask(with_url(stack, f"{url}?ssl_ca_certs={tmp_path}/cert.pem"))
        ask(with_url(stack, f"{url}?ssl_cert_reqs=none"))


@CLIENTS
def test_a_certificate_of_a_given_authority(stack: Stack, authority: Authority, ask: Ask) -> None:
    with served(stack, authority.server(*HERE)) as url:
        ask(with_url(stack, f"{url}?ssl_ca_certs={authority.ca_file}"))
        with pytest.raises(ServiceUnavailableError, match=REFUSED % ("unable to get", "ssl_ca_certs=/path")):
            ask(with_url(stack, url))


@CLIENTS
def test_a_certificate_for_another_name(stack: Stack, authority: Authority, ask: Ask) -> None:
    with served(stack, authority.server("redis.example.com")) as url:
        url = f"{url}?ssl_ca_certs={authority.ca_file}"
        with pytest.raises(ServiceUnavailableError, match=REFUSED % ("IP address mismatch", "a name that")):
            ask(with_url(stack, url))
        ask(with_url(stack, f"{url}&ssl_check_hostname=false"))


@CLIENTS
def test_a_certificate_of_the_past(stack: Stack, authority: Authority, ask: Ask) -> None:
    with (
        served(stack, authority.server(*HERE, days_ago=3)) as url,
        pytest.raises(ServiceUnavailableError, match=REFUSED % ("certificate has expired", "renewed")),
    ):
        ask(with_url(stack, f"{url}?ssl_ca_certs={authority.ca_file}"))


@CLIENTS
def test_a_server_that_wants_to_know_who_we_are(stack: Stack, authority: Authority, tmp_path: Path, ask: Ask) -> None:
    context = authority.server(*HERE)
    context.load_verify_locations(authority.ca_file)
    context.verify_mode = CERT_REQUIRED
    with served(stack, context) as url:
        url = f"{url}?ssl_ca_certs={authority.ca_file}"
        with pytest.raises(ServiceUnavailableError, match=r"no TLS could be agreed on|cut"):
            ask(with_url(stack, url))
        ask(with_url(stack, f"{url}&ssl_certfile={tmp_path}/cert.pem&ssl_keyfile={tmp_path}/key.pem"))


@CLIENTS
def test_a_file_that_is_not_there(stack: Stack, authority: Authority, ask: Ask) -> None:
    with (
        served(stack, authority.server(*HERE)) as url,
        pytest.raises(ServiceUnavailableError, match=r"its URL names \(ssl_ca_certs.* is not there"),
    ):
        ask(with_url(stack, f"{url}?ssl_ca_certs=/no/such/file.pem"))


def test_a_producer_and_a_worker_over_tls(stack: Stack, authority: Authority, tmp_path: Path) -> None:
    with served(stack, authority.server(*HERE)) as url:
        over_tls = {"TICKETFLOW_REDIS_URL": f"{url}?ssl_ca_certs={authority.ca_file}"}
        with (
            WorkerProcess({**stack.worker_environment, **over_tls}, tmp_path / "worker.log") as worker,
            Producer(with_url(stack, over_tls["TICKETFLOW_REDIS_URL"])) as producer,
        ):
            job = producer.enqueue("list_models", {}, provider="groq").wait(30)
            assert job.error
            assert job.error.type == "KeyMissingError", "it came through, and there is no key"
        assert "insecure SSL" not in worker.log.read_text()


def test_a_worker_does_not_follow_a_broker_that_nobody_vouches_for(stack: Stack, tmp_path: Path) -> None:
    with served(stack, self_signed(tmp_path, *HERE)) as url:
        environment = {**stack.worker_environment, "TICKETFLOW_REDIS_URL": url}
        with WorkerProcess(environment, tmp_path / "worker.log", ready=False) as worker:
            wait_for(lambda: "CERTIFICATE_VERIFY_FAILED" in worker.log.read_text(), "a word about it", 30)
            assert "ready" not in worker.log.read_text()
