"""Celery's events, which Flower shows, are told a few times a second and not while a job waits for its call."""

from typing import Any

from celery.bootsteps import StartStopStep

TELL_S = 0.2
"""Celery tells what happens to a task at once: two or three times a job 2 ms of CPU, while its claim is on its way."""

BUFFERED = 1000
"""A burst of more events than this is told at once; Celery's own limit, 24, is eight tasks."""


class GatheredEvents(StartStopStep):
    """A step of Celery's consumer: events of tasks gather, and its own loop sends them."""

    requires = ("celery.worker.consumer.events:Events",)

    def __init__(self, consumer: Any, **options: Any) -> None:
        super().__init__(consumer, **options)
        self._timer: Any = None

    def start(self, consumer: Any) -> None:
        """Once connected; without a loop (prefork under eventlet) nothing is gathered in the first place."""
        if consumer.hub is None:
            return
        dispatcher = consumer.event_dispatcher
        dispatcher.buffer_limit, dispatcher.on_send_buffered = BUFFERED, None
        self._timer = consumer.hub.call_repeatedly(TELL_S, dispatcher.flush)

    def stop(self, _consumer: Any) -> None:
        """The connection was lost, or the worker stops."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def shutdown(self, consumer: Any) -> None:
        """What happened last is told, if it can be."""
        self.stop(consumer)
        if consumer.event_dispatcher is not None:
            consumer.event_dispatcher.flush()
