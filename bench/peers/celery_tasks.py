"""Celery, as its "First steps" have it, with the OpenAI client that its own README shows."""

import os

from celery import Celery
from openai import OpenAI

app = Celery("bench", broker=os.environ["BENCH_REDIS_URL"])
app.conf.task_ignore_result = True
client = OpenAI()


@app.task
def ask(prompt: str) -> str | None:
    """One call."""
    answer = client.chat.completions.create(model="bench-1", messages=[{"role": "user", "content": prompt}])
    return answer.choices[0].message.content
