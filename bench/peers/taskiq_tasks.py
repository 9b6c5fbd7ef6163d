"""taskiq with its Redis list broker, as its README has it, and the SDK's asynchronous client."""

import os

from openai import AsyncOpenAI
from taskiq_redis import ListQueueBroker

# redis-py gives up after five seconds by default, and the broker waits for messages without an end of its own: a worker
# that had nothing to do for so long would end.
broker = ListQueueBroker(url=os.environ["BENCH_REDIS_URL"], socket_timeout=None)
client = AsyncOpenAI()


@broker.task
async def ask(prompt: str) -> str | None:
    """One call."""
    answer = await client.chat.completions.create(model="bench-1", messages=[{"role": "user", "content": prompt}])
    return answer.choices[0].message.content
