"""Enqueues prompts with a peer: ``python -m bench.peers.enqueue celery|dramatiq|taskiq JOBS``."""

import asyncio
import sys

from bench.prompts import prompt


def celery(jobs: int) -> None:
    """One message a prompt."""
    from bench.peers.celery_tasks import ask

    for number in range(jobs):
        ask.delay(prompt(number))


def dramatiq(jobs: int) -> None:
    """One message a prompt."""
    from bench.peers.dramatiq_tasks import ask

    for number in range(jobs):
        ask.send(prompt(number))


def taskiq(jobs: int) -> None:
    """One message a prompt."""
    from bench.peers.taskiq_tasks import ask, broker

    async def send() -> None:
        await broker.startup()
        for number in range(jobs):
            await ask.kiq(prompt(number))
        await broker.shutdown()

    asyncio.run(send())


if __name__ == "__main__":
    {"celery": celery, "dramatiq": dramatiq, "taskiq": taskiq}[sys.argv[1]](int(sys.argv[2]))
