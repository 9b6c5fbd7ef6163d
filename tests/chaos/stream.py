"""A stream of single jobs, submitted one after another through all that is broken meanwhile."""

import threading
from types import TracebackType
from typing import Self

from config.errors import ServiceUnavailableError
from config.settings import Settings
from producer.producer import Producer

PAUSE_S = 0.05


class SingleJobs:
    """Submits a job each ``PAUSE_S`` until it is stopped.

    Args:
        settings: a producer's.
        provider_id: who is to answer.
        prefix: of their identities.
    """

    def __init__(self, settings: Settings, provider_id: str, prefix: str = "single") -> None:
        self._settings, self._provider_id, self._prefix = settings, provider_id, prefix
        self.accepted: list[str] = []
        self.uncertain: list[str] = []
        self.fault: BaseException | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._submit, name="single jobs")

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Submits no more; raises what went wrong that should not."""
        self._stop.set()
        self._thread.join()
        if self.fault:
            raise self.fault

    def _submit(self) -> None:
        number = 0
        try:
            with Producer(self._settings) as producer:
                while not self._stop.wait(PAUSE_S):
                    number += 1
                    self._submit_one(producer, f"{self._prefix}-{number}")
        except BaseException as error:
            self.fault = error

    def _submit_one(self, producer: Producer, identity: str) -> None:
        prompt = {"prompt": f"JOB[{identity}] please"}
        try:
            producer.enqueue("complete", prompt, provider=self._provider_id, custom_id=identity)
        except ServiceUnavailableError:
            self.uncertain.append(identity)
        else:
            self.accepted.append(identity)
