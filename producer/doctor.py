"""The doctor: one finding for each part that has to be there, in the order in which they build on each other."""

import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from urllib.parse import urlsplit

from config.circuits import CircuitBoard
from config.egress import EgressPolicy, is_local_url
from config.errors import KeyMissingError, SettingsError, TicketflowError
from config.keys import KeySource, open_keys
from config.presence import PresenceBoard
from config.providers import Provider
from config.redis_link import redis_errors
from config.registry import Snapshot
from config.settings import Settings, address_of, load_settings
from jobs.migrate import applied_revision, newest_revision
from producer.producer import Producer

CONNECT_S = 3.0


@dataclass(frozen=True)
class Finding:
    """One check: what was looked at, whether it is well, and in words how."""

    check: str
    ok: bool
    detail: str


def examine() -> list[Finding]:
    """Looks at everything; one part that is away hides no other."""
    try:
        settings = load_settings()
    except SettingsError as error:
        return [Finding("settings", False, " ".join(str(error).split()))]
    with Producer(settings) as producer:
        return [Finding("settings", True, "complete"), *_services(producer, settings), *_providers(producer, settings)]


def _services(producer: Producer, settings: Settings) -> Iterator[Finding]:
    keys = open_keys(settings)
    yield _check("redis", lambda: _redis(producer, settings))
    postgres = _check("postgres", lambda: _postgres(producer))
    yield postgres
    if postgres.ok:
        yield _check("migrations", lambda: _migrations(producer))
    yield _check("vault", lambda: keys.check())
    yield _check("worker", lambda: _worker(producer, settings))


def _check(name: str, look: Callable[[], str]) -> Finding:
    try:
        return Finding(name, True, look())
    except TicketflowError as error:
        return Finding(name, False, str(error))


def _redis(producer: Producer, settings: Settings) -> str:
    with redis_errors(settings.redis_url):
        producer.redis.ping()
    return address_of(settings.redis_url)


def _postgres(producer: Producer) -> str:
    producer.database.query("SELECT 1 AS one")
    return producer.database.address


def _migrations(producer: Producer) -> str:
    applied, newest = applied_revision(producer.database), newest_revision()
    if applied != newest:
        raise TicketflowError(f"at {applied or 'none'}, this version needs {newest}: run `ticketflow db migrate`")
    return f"at {applied}"


def _worker(producer: Producer, settings: Settings) -> str:
    living = PresenceBoard(producer.redis, settings.redis_url).living()
    if not living:
        raise TicketflowError("none is running: `ticketflow up`, or `celery -A worker.app worker -P threads`")
    return f"{len(living)} running"


def _providers(producer: Producer, settings: Settings) -> Iterator[Finding]:
    try:
        snapshot = producer.registry.snapshot
    except TicketflowError as error:
        yield Finding("providers", False, str(error))
        return
    for key, reason in sorted(snapshot.damaged.items()):
        yield Finding(f"provider {key}", False, f"set aside: {reason}")
    keys = open_keys(settings)
    for key in sorted(snapshot.entries):
        provider = snapshot.entries[key].provider
        yield _check(f"provider {key}", lambda p=provider: _provider(p, keys, settings.egress))  # type: ignore[misc]
    yield _check("circuits", lambda: _circuits(producer, snapshot, settings))


def _circuits(producer: Producer, snapshot: Snapshot, settings: Settings) -> str:
    """Providers that workers leave alone, since calls to them fail."""
    generations = [(key, entry.generation) for key, entry in sorted(snapshot.entries.items())]
    states = CircuitBoard(producer.redis, settings.redis_url).states(generations)
    alone = [f"{key} ({state})" for key, state in states.items() if state != "closed"]
    if alone:
        raise TicketflowError(f"left alone since they keep failing: {', '.join(alone)}; see `providers check`")
    return "all closed"


def _provider(provider: Provider, keys: KeySource, egress: EgressPolicy) -> str:
    """Whether jobs for it could run: enabled, with a key, and something answers at its address."""
    if not provider.enabled:
        return "disabled"
    try:
        keys.get(provider.id)
    except KeyMissingError as error:
        if not provider.is_custom:
            return f"not in use: {error}"
        if not is_local_url(provider.base_url):
            raise
    return _reach(provider.base_url, egress)


def _reach(url: str, egress: EgressPolicy) -> str:
    """A connection to the provider's address, closed at once: nothing is sent and no key is needed."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80)
    started = time.monotonic()
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
        addresses = [str(item[4][0]) for item in found]
        if not all(egress.allows_address(address, host) for address in addresses):
            raise TicketflowError(f"{host} is at an address that may not be dialled")
        socket.create_connection((addresses[0], port), timeout=CONNECT_S).close()
    except OSError as error:
        raise TicketflowError(f"{host}:{port} cannot be reached: {error.strerror or type(error).__name__}") from None
    return f"{host}:{port} answers after {(time.monotonic() - started) * 1000:.0f} ms"
