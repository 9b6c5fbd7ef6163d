"""What it takes to get from a provider's id to a client, once all is warm: definition, key, client."""

import asyncio
import time
from statistics import median

from bench.place import PROVIDER_ID, Place
from config.database import Database
from config.keys import KeySource, open_keys
from config.provider_store import ProviderStore
from config.redis_link import connect_redis
from config.registry import Registry
from config.registry_cache import RedisCache
from worker.adapters import make_adapter
from worker.clients import ClientCache
from worker.session import guarded_session

REPEATS = 5


def resolve(place: Place, times: int) -> dict[str, float]:
    """Microseconds for one resolution, as the median of five series.

    Args:
        place: where.
        times: resolutions in a series.
    """
    with place.fresh():
        return {"resolve_warm_us": asyncio.run(_resolve(place, times))}


async def _resolve(place: Place, times: int) -> float:
    settings = place.settings(place.worker())
    database, redis = Database(settings.database_url, "ticketflow-bench"), connect_redis(settings.redis_url)
    cache = RedisCache(redis, settings.redis_url)
    registry, keys = Registry(ProviderStore(database, cache, settings.egress), cache), open_keys(settings)
    registry.resolve(PROVIDER_ID)
    keys.get(PROVIDER_ID)
    async with guarded_session(settings.egress, settings.response_max_bytes) as session:
        clients = ClientCache(lambda provider, key: make_adapter(provider, key, session, settings))
        series = [_series(registry, keys, clients, times) for _ in range(REPEATS + 1)]
    database.close()
    redis.close()
    return median(series[1:])


def _series(registry: Registry, keys: KeySource, clients: ClientCache, times: int) -> float:
    began = time.perf_counter()
    for _ in range(times):
        entry = registry.held(PROVIDER_ID)
        assert entry is not None  # noqa: S101 - it was resolved before
        with clients.lease(entry, keys.held(PROVIDER_ID)):
            pass
    return (time.perf_counter() - began) * 1e6 / times
