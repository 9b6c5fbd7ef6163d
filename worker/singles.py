"""The single jobs that messages name: others come along, and those that there was no place for are taken later."""

import asyncio
import logging
from collections.abc import Callable, Collection, Coroutine, Sequence
from functools import partial
from typing import Any
from uuid import UUID

from config.errors import ServiceUnavailableError
from config.redis_names import INTERACTIVE_QUEUE
from jobs.dispatch import Dispatcher
from jobs.hints import Hint
from jobs.records import Ask
from worker.books import LedgerBooks
from worker.places import Places
from worker.slices import SliceRunner

log = logging.getLogger(__name__)

Begin = Callable[[Callable[[], Coroutine[Any, Any, None]]], None]


class SingleRunner:
    """Runs single jobs as far as there are places for their provider.

    Args:
        places: how many there are.
        slices: claims jobs and runs them.
        books: threads to send messages from.
        dispatcher: sends them.
        begin: has work done in the loop, from any thread; does nothing once the worker stops.
    """

    def __init__(
        self, places: Places, slices: SliceRunner, books: LedgerBooks, dispatcher: Dispatcher, begin: Begin
    ) -> None:
        self._places, self._slices, self._books, self._dispatcher = places, slices, books, dispatcher
        self._begin, self._loop = begin, asyncio.get_running_loop()
        self._gathering = False

    def take(self, job_ids: Sequence[UUID], provider_id: str) -> bool:
        """Takes one message, from any thread; False: it is let go, and its jobs are taken when there are places."""
        if not self._places.take(provider_id):
            self._loop.call_soon_threadsafe(self._follow_soon)
            return False
        self._begin(partial(self._run, job_ids, provider_id))
        return True

    def look_for(self, provider_ids: Collection[str]) -> None:
        """Takes jobs of some providers without a message, in the loop: another process may have let theirs go.

        It may hear of every message that is sent again before this one does, and let it go again.
        """
        for provider_id in provider_ids:
            self._places.let_go(provider_id)
        self._follow_soon()

    async def _run(self, job_ids: Sequence[UUID], provider_id: str) -> None:
        """Jobs by name and others besides; one place has been taken for them."""
        taken = 1 + self._places.take_more(provider_id)
        named, others = job_ids[:taken], job_ids[taken:]
        try:
            await self._pass_on(others, provider_id)
            hand = await self._slices.claim(Ask(named, provider_id, taken - len(named)))
            if not named and len(hand.claims) == taken:
                self._places.let_go(provider_id)
            taken -= len(hand.claims)
        finally:
            self._give(provider_id, taken)
        await self._slices.run(hand, lambda: self._give(provider_id, 1))

    async def _pass_on(self, job_ids: Sequence[UUID], provider_id: str) -> None:
        """What there is no place for goes to whoever has some next, and does not wait until the sweeper misses it.

        After an outage a message names hundreds of single jobs that were put off.
        """
        if not job_ids:
            return
        try:
            hint = Hint(provider_id, INTERACTIVE_QUEUE, tuple(job_ids))
            await self._books.in_thread(lambda: self._dispatcher.send(hint))
        except ServiceUnavailableError as error:
            log.warning("%d jobs were not passed on (%s); the sweeper will send them", len(job_ids), error)

    def _give(self, provider_id: str, places: int) -> None:
        self._places.give(provider_id, places)
        self._follow_soon()

    def _follow_soon(self) -> None:
        """Has jobs taken whose messages were let go, as soon as it is worth a claim."""
        pause_s = self._places.pause_s()
        if pause_s == 0:
            self._follow()
        elif pause_s and not self._gathering:
            self._gathering = True
            self._loop.call_later(pause_s, self._gathered)

    def _gathered(self) -> None:
        self._gathering = False
        self._follow()

    def _follow(self) -> None:
        for provider_id in self._places.called():
            self._begin(partial(self._run, (), provider_id))
