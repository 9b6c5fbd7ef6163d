"""How work gets in and results out.

>>> from producer import Producer
>>> with Producer.from_env() as producer:
...     job = producer.enqueue("summarise_ticket", ticket, provider="groq")
...     print(job.result(timeout_s=30).summary)
"""

from producer.producer import BatchHandle, JobHandle, Producer

__all__ = ["BatchHandle", "JobHandle", "Producer"]
