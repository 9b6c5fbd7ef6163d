"""Calls to the provider from one plain loop: what is left when no queue, no ledger and no result is wanted.

Run as ``python -m bench.bare_loop KIND URL JOBS IN_FLIGHT``. It warms up, stops itself, makes its calls once it is
continued, and stops itself again, so that it can be looked at from outside.
"""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import aiohttp
import httpx2
import openai
from httpx_aiohttp.httpx2 import AiohttpTransport

from bench.prompts import prompt

MODEL, KEY = "bench-1", "sk-bench-0123456789"
Call = Callable[[str], Awaitable[str | None]]


@asynccontextmanager
async def bare_aiohttp(url: str) -> AsyncIterator[Call]:
    """No SDK: the least that Python can do."""
    async with aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0), headers={"Authorization": f"Bearer {KEY}"}
    ) as session:

        async def call(text: str) -> str | None:
            body = {"model": MODEL, "messages": [{"role": "user", "content": text}]}
            async with session.post(f"{url}/chat/completions", json=body) as response:
                answer = await response.json()
                return str(answer["choices"][0]["message"]["content"])

        yield call


@asynccontextmanager
async def bare_sdk_default(url: str) -> AsyncIterator[Call]:
    """``AsyncOpenAI()`` as its README has it."""
    async with openai.AsyncOpenAI(api_key=KEY, base_url=url) as client:
        yield _completions(client)


@asynccontextmanager
async def bare_sdk_aiohttp(url: str) -> AsyncIterator[Call]:
    """The same calls over an aiohttp session, the SDK's fastest transport."""
    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        http_client = httpx2.AsyncClient(transport=AiohttpTransport(client=session))
        yield _completions(openai.AsyncOpenAI(api_key=KEY, base_url=url, http_client=http_client))


def _completions(client: openai.AsyncOpenAI) -> Call:
    async def call(text: str) -> str | None:
        answer = await client.chat.completions.create(model=MODEL, messages=[{"role": "user", "content": text}])
        return answer.choices[0].message.content

    return call


KINDS = {"aiohttp": bare_aiohttp, "sdk-default": bare_sdk_default, "sdk-aiohttp": bare_sdk_aiohttp}


async def run(kind: str, url: str, jobs: int, in_flight: int) -> None:
    """Makes the calls, ``in_flight`` at a time."""
    async with KINDS[kind](url) as call:
        await _calls(call, min(2 * in_flight, jobs), in_flight)
        os.kill(os.getpid(), signal.SIGSTOP)
        await _calls(call, jobs, in_flight)
        os.kill(os.getpid(), signal.SIGSTOP)


async def _calls(call: Call, jobs: int, in_flight: int) -> None:
    numbers = iter(range(jobs))

    async def one_after_another() -> None:
        for number in numbers:
            await call(prompt(number))

    await asyncio.gather(*(one_after_another() for _ in range(in_flight)))


if __name__ == "__main__":
    asyncio.run(run(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
