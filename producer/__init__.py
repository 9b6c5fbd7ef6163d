"""How work gets in and results out.

>>> from producer import Producer
>>> with Producer.from_env() as producer:
...     job = producer.enqueue("summarise_ticket", ticket, provider="groq")
...     print(job.result(timeout_s=30).summary)
"""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from producer.handles import BatchHandle, JobHandle
    from producer.producer import Producer

__all__ = ["BatchHandle", "JobHandle", "Producer"]


def __getattr__(name: str) -> Any:
    """Loads the class when it is first used; what it needs comes with the first producer."""
    if name in __all__:
        from producer import producer

        return getattr(producer, name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
