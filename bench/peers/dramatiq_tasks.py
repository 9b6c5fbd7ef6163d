"""dramatiq, as its user guide has it."""

import os

import dramatiq
from dramatiq.brokers.redis import RedisBroker
from openai import OpenAI

dramatiq.set_broker(RedisBroker(url=os.environ["BENCH_REDIS_URL"]))
client = OpenAI()


@dramatiq.actor
def ask(prompt: str) -> None:
    """One call."""
    client.chat.completions.create(model="bench-1", messages=[{"role": "user", "content": prompt}])
