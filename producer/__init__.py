"""How work gets in and results out.

>>> from producer import Producer
>>> with Producer.from_env() as producer:
...     job = producer.enqueue("summarise_ticket", ticket, provider="groq")
...     print(job.result(timeout_s=30).summary)
"""

import gc
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from producer.handles import BatchHandle, JobHandle
    from producer.producer import Producer

__all__ = ["BatchHandle", "JobHandle", "Producer"]


def __getattr__(name: str) -> Any:
    """Loads the producer when it is first used, so that ``ticketflow --help`` need not wait for database drivers.

    Python's cycle collector rests meanwhile: it would look 130 times at what stays, a quarter of the time of loading.
    """
    if name in __all__:
        collects = gc.isenabled()
        gc.disable()
        try:
            from producer import producer
        finally:
            if collects:
                gc.enable()
        return getattr(producer, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
