"""Celery's side of the agreement: one set of options for everybody who touches the broker."""

from typing import Any

import redis
from celery import Celery
from kombu import Queue
from kombu.transport import TRANSPORT_ALIASES

from config.redis_link import TIMEOUT_S
from config.redis_names import INTERACTIVE_QUEUE, QUEUES
from config.redis_tls import tls_options, without_options
from config.settings import Settings

RUN_JOBS = "ticketflow.run_jobs"
"""The one task: ``run_jobs(provider_id, job_ids)``, or with ``batch_id, jobs`` for a batch's next jobs."""

# A message is a hint, so nothing here has to be perfect; the waits have to be bounded. With the defaults a half-open
# connection hangs a worker for good, and a frozen Redis a producer; see docs/decisions/0003-broker-options.md.
TRANSPORT_OPTIONS: dict[str, Any] = {
    "socket_timeout": 5,
    "socket_connect_timeout": 3,
    "socket_keepalive": True,
    "health_check_interval": 5,
    "max_connections": 50,
    "client_name": "ticketflow",
}

PUBLISH_RETRY: dict[str, Any] = {"max_retries": 1, "interval_start": 0, "interval_step": 0.2, "interval_max": 0.5}


def make_app(settings: Settings) -> Celery:
    """The Celery application, without tasks; the worker adds its one."""
    return _app(settings, TRANSPORT_OPTIONS, PUBLISH_RETRY)


def make_sending_app(settings: Settings) -> Celery:
    """One that only sends, for programs whose callers wait: it waits two seconds for a Redis that hangs, once."""
    waits = {"socket_timeout": TIMEOUT_S, "socket_connect_timeout": TIMEOUT_S}
    return _app(settings, TRANSPORT_OPTIONS | waits, PUBLISH_RETRY | {"errback": _but_no_timeout})


def _but_no_timeout(error: Exception, _interval: float) -> None:
    """Kombu would wait for a connection twice more, and then send what may have been taken already."""
    if isinstance(error, redis.TimeoutError):
        raise error


def _app(settings: Settings, transport_options: dict[str, Any], publish_retry: dict[str, Any]) -> Celery:
    TRANSPORT_ALIASES.update(dict.fromkeys(("redis", "rediss"), "config.transport:Transport"))
    tls = tls_options(settings.redis_url)
    app = Celery("ticketflow", broker=without_options(settings.redis_url), set_as_current=False)
    app.conf.update(
        task_serializer="json",
        result_serializer="json",
        event_serializer="json",
        accept_content=["json"],
        result_backend=None,
        task_ignore_result=True,
        task_store_errors_even_if_ignored=False,
        task_acks_late=True,
        task_reject_on_worker_lost=True,
        task_create_missing_queues=False,
        task_default_queue=INTERACTIVE_QUEUE,
        task_queues=[Queue(name, routing_key=name) for name in QUEUES],
        task_send_sent_event=True,
        task_publish_retry_policy=publish_retry,
        worker_prefetch_multiplier=1,
        worker_eta_task_limit=100,
        worker_pool="threads",
        worker_concurrency=settings.worker_concurrency,
        worker_send_task_events=True,
        worker_cancel_long_running_tasks_on_connection_loss=False,
        broker_connection_retry_on_startup=True,
        broker_connection_max_retries=None,
        broker_channel_error_retry=True,
        broker_pool_limit=20,
        broker_pool_acquire_timeout=5,
        # Kombu's pools are the process' own and told apart by these options, not by those of TLS: it overlooks "tls".
        broker_transport_options={**transport_options, "tls": tls} if tls else transport_options,
        broker_use_ssl=tls or False,
    )
    return app
