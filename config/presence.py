"""Worker processes as they show themselves in Redis: who lives, and which generation of the registry each holds."""

import json
from dataclasses import asdict, dataclass

import redis

from config.redis_link import redis_errors
from config.redis_names import WORKER, WORKERS

TTL_S = 10
"""A process that has been silent for so long is not shown any more."""


@dataclass(frozen=True)
class Presence:
    """One worker process.

    Args:
        generation: of the registry that it holds.
        clients: SDK clients that it keeps.
        in_flight: calls to providers that it waits for.
        jobs: jobs in its hands.
        clients_made: SDK clients made since it started; with the next two, whether the cache does its work.
        clients_reused: calls that found their client.
        clients_invalidated: clients dropped for a change of their provider or key, or for room.
        put_back: jobs that no worker had in hand and that its sweeper queued again; with the next four, what it has
            mended and removed since it started.
        given_up: jobs that it failed because their workers had died too often.
        sent_again: jobs whose messages were lost.
        batches_started: batches that nobody fed.
        purged: jobs removed because they ended longer ago than they are to be kept.
    """

    worker_id: str
    host: str
    pid: int
    queues: tuple[str, ...]
    generation: int
    clients: int
    in_flight: int
    jobs: int = 0
    clients_made: int = 0
    clients_reused: int = 0
    clients_invalidated: int = 0
    put_back: int = 0
    given_up: int = 0
    sent_again: int = 0
    batches_started: int = 0
    purged: int = 0
    last_seen_s: float = 0.0


class PresenceBoard:
    """Announces and lists worker processes; every call may raise ServiceUnavailableError.

    Times are Redis' own, so that hosts need not agree on theirs.

    Args:
        client: a client that decodes responses.
        url: Redis' URL, for messages.
    """

    def __init__(self, client: redis.Redis, url: str) -> None:
        self._client, self._url = client, url

    def announce(self, presence: Presence) -> None:
        """Says that the process lives, and how it is."""
        with redis_errors(self._url):
            now_s = self._now_s()
            pipe = self._client.pipeline(transaction=False)
            pipe.set(WORKER.format(id=presence.worker_id), json.dumps({**asdict(presence), "seen_s": now_s}), ex=TTL_S)
            pipe.zadd(WORKERS, {presence.worker_id: now_s})
            pipe.execute()

    def leave(self, worker_id: str) -> None:
        """Says that the process stops."""
        with redis_errors(self._url):
            self._client.delete(WORKER.format(id=worker_id))
            self._client.zrem(WORKERS, worker_id)

    def living(self) -> list[Presence]:
        """The processes seen in the last ten seconds, by host and pid."""
        with redis_errors(self._url):
            now_s = self._now_s()
            self._client.zremrangebyscore(WORKERS, "-inf", now_s - TTL_S)
            ids = self._client.zrange(WORKERS, 0, -1)
            texts = self._client.mget([WORKER.format(id=worker_id) for worker_id in ids]) if ids else []
        found = (_read(str(text), now_s) for text in texts if text)
        return sorted((presence for presence in found if presence), key=lambda p: (p.host, p.pid))

    def _now_s(self) -> float:
        seconds, microseconds = self._client.time()
        return float(seconds) + float(microseconds) / 1e6


def _read(text: str, now_s: float) -> Presence | None:
    """An entry that is not ours or of another version is passed over: presence is shown, nothing hangs on it."""
    try:
        data = json.loads(text)
        known = {name: data[name] for name in Presence.__dataclass_fields__ if name in data}
        last_seen_s = round(max(0.0, now_s - float(data["seen_s"])), 3)
        return Presence(**{**known, "queues": tuple(data["queues"]), "last_seen_s": last_seen_s})
    except (ValueError, TypeError, KeyError, AttributeError):
        return None
