"""The one door for foreign errors: whatever an SDK or HTTP library raises leaves here as a ``CallError``.

SDKs over aiohttp call every broken connection a timeout, so their class says little: the chain of causes is walked and
the first rule that fits any link decides. No text of a foreign error passes, since it may quote key, prompt or reply.
"""

import json
import math
import re
import ssl
import time
from collections.abc import Iterator, Mapping
from concurrent.futures import CancelledError
from dataclasses import dataclass, field
from datetime import UTC
from email.utils import parsedate_to_datetime
from pathlib import PurePath
from typing import Any

import aiohttp
from pydantic import ValidationError

from config.errors import (
    CallError,
    EgressDeniedError,
    InternalError,
    ProviderAuthError,
    ProviderConnectionError,
    ProviderRateLimitedError,
    ProviderRejectedError,
    ProviderReplyError,
    ProviderServerError,
    ProviderTimeoutError,
    ProviderUnreachableError,
)
from worker.reply import RedirectRefusedError, ReplyEncodedError, ReplyTooLargeError
from worker.session import AddressDeniedError

MAX_RETRY_AFTER_S = 3600.0

Rule = tuple[type[BaseException], type[CallError], str]
"""An error class, what it stands for, and what people read after the provider's id."""

RULES: tuple[Rule, ...] = (
    (AddressDeniedError, EgressDeniedError, "was not called: its address is one that may not be dialled"),
    (ReplyTooLargeError, ProviderReplyError, "sent more than TICKETFLOW_RESPONSE_MAX_BYTES"),
    (ReplyEncodedError, ProviderReplyError, "sent a compressed answer although plain was asked for"),
    (ssl.SSLCertVerificationError, ProviderRejectedError, "shows a TLS certificate that cannot be trusted"),
    (ssl.CertificateError, ProviderRejectedError, "shows a TLS certificate that cannot be trusted"),
    (aiohttp.ClientConnectorSSLError, ProviderUnreachableError, "did not agree on TLS"),
    (aiohttp.InvalidURL, ProviderRejectedError, "has a base URL that cannot be dialled"),
    (aiohttp.ClientConnectorDNSError, ProviderUnreachableError, "has a host name that could not be resolved"),
    (aiohttp.ClientConnectorError, ProviderUnreachableError, "could not be reached"),
    (aiohttp.ConnectionTimeoutError, ProviderUnreachableError, "could not be reached in time"),
    (TimeoutError, ProviderTimeoutError, "did not answer in time"),
    (aiohttp.ClientConnectionError, ProviderConnectionError, "cut the connection"),
    (aiohttp.ClientPayloadError, ProviderConnectionError, "cut its answer short"),
    (ConnectionError, ProviderConnectionError, "cut the connection"),
    (CancelledError, ProviderConnectionError, "was not waited for: the connection was closed"),
    (aiohttp.ClientError, ProviderReplyError, "sent an answer that is not HTTP"),
    (json.JSONDecodeError, ProviderReplyError, "sent an answer that is not JSON"),
    (ValidationError, ProviderReplyError, "sent an answer that its protocol does not know"),
    (UnicodeDecodeError, ProviderReplyError, "sent an answer that is not UTF-8"),
    (RecursionError, ProviderReplyError, "sent an answer that is nested without end"),
)

_STATUSES: dict[int, type[CallError]] = {
    401: ProviderAuthError,
    408: ProviderServerError,
    409: ProviderServerError,
    429: ProviderRateLimitedError,
}
_CODE = re.compile(r"[A-Za-z][A-Za-z_]{1,47}")


@dataclass(frozen=True)
class HttpFault:
    """A refusal in terms of HTTP, taken out of an SDK's error.

    Args:
        status: the HTTP status.
        headers: of the answer.
        code: the provider's name for the error, if it gave one.
        retry_delay_s: seconds to wait by the body's own word.
        wrong_key: the body says that the key is wrong, whatever the status.
    """

    status: int
    headers: Mapping[str, str] = field(default_factory=dict, repr=False)
    code: object = None
    retry_delay_s: float | None = None
    wrong_key: bool = False


def chain_of(error: BaseException) -> Iterator[BaseException]:
    """The error and what it came from."""
    seen: set[int] = set()
    link: BaseException | None = error
    while link is not None and id(link) not in seen:
        seen.add(id(link))
        yield link
        link = link.__cause__ or (None if link.__suppress_context__ else link.__context__)


def refused(provider_id: str, fault: HttpFault, key: str | None) -> CallError:
    """The error for a status that is not success."""
    made = ProviderServerError if fault.status >= 500 else _STATUSES.get(fault.status, ProviderRejectedError)
    if fault.wrong_key:
        made = ProviderAuthError
    code = _shown(fault.code, key)
    wait_s = retry_after_s(fault.headers, time.time())
    return made(
        provider_id,
        f"{provider_id} answered {fault.status}" + (f" ({code})" if code else ""),
        fault.status,
        _sane(fault.retry_delay_s) if wait_s is None else wait_s,
    )


def translated(provider_id: str, error: Exception, rules: tuple[Rule, ...]) -> CallError:
    """The error for anything that is no refusal by status; rules in order, the first that fits a link decides."""
    links = tuple(chain_of(error))
    redirect = next((link for link in links if isinstance(link, RedirectRefusedError)), None)
    if redirect:
        words = f"{provider_id} answered {redirect.status}: redirects are not followed"
        return ProviderRejectedError(provider_id, words, redirect.status)
    for kind, made, words in rules:
        if any(isinstance(link, kind) for link in links):
            return made(provider_id, f"{provider_id} {words}")
    return InternalError(provider_id, f"unexpected {type(error).__name__} at {_place(error)}")


def retry_after_s(headers: Mapping[str, str], now: float) -> float | None:
    """Seconds to wait by ``retry-after-ms`` or ``Retry-After`` (seconds or an HTTP date, RFC 9110 10.2.3), capped.

    Args:
        headers: of the answer.
        now: Unix time.
    """
    milliseconds = _sane(_number(headers.get("retry-after-ms")), 1000)
    if milliseconds is not None:
        return milliseconds
    value = headers.get("retry-after")
    if value is None:
        return None
    seconds = _number(value)
    return _sane(_seconds_until(value, now) if seconds is None else seconds)


def _number(value: str | None) -> float | None:
    try:
        return None if value is None else float(value)
    except ValueError:
        return None


def _seconds_until(date: str, now: float) -> float | None:
    try:
        moment = parsedate_to_datetime(date)
    except ValueError:
        return None
    return max(0.0, (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp() - now)


def _sane(value: float | None, per_s: int = 1) -> float | None:
    if value is None or math.isnan(value) or value < 0:
        return None
    return min(value / per_s, MAX_RETRY_AFTER_S)


def _shown(code: Any, key: str | None) -> str | None:
    """A code that is a short word and nothing of the key: letters and underscores alone, as providers spell them."""
    if not isinstance(code, str) or not _CODE.fullmatch(code):
        return None
    return None if key and (code in key or key in code) else code


def _place(error: BaseException) -> str:
    """Where it was raised: file and line, which quote nothing."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    return f"{PurePath(trace.tb_frame.f_code.co_filename).name}:{trace.tb_lineno}" if trace else "an unknown place"
