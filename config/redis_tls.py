"""TLS to Redis: what a ``rediss://`` URL asks for, said alike to redis-py, kombu and Flower.

Left to itself kombu checks no certificate, and Flower reads no option from the URL. So only redis-py is given the URL
as it is; the others get these options.
"""

import ssl
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import parse_qsl, urlsplit

_TRUTH = {"true": True, "false": False}
_READERS: dict[str, Callable[[str], Any]] = {
    "ssl_ca_certs": str,
    "ssl_cert_reqs": {"required": "required", "none": "none"}.__getitem__,
    "ssl_check_hostname": lambda text: _TRUTH[text.lower()],
    "ssl_certfile": str,
    "ssl_keyfile": str,
}
_VALUES = {"ssl_cert_reqs": "required or none", "ssl_check_hostname": "true or false"}

_WRONG_NAME = (62, 64)
_WRONG_TIME = (9, 10)
"""OpenSSL's numbers (X509_V_ERR_…) of a host or address that the certificate does not hold, and of its dates."""


def tls_options(url: str) -> dict[str, Any]:
    """What kombu and Flower need to know of TLS, in redis-py's words; empty for ``redis://``.

    Raises:
        ValueError: the URL has an option that is none, or one with a value that it cannot have.
    """
    parts = urlsplit(url)
    given = parse_qsl(parts.query, keep_blank_values=True)
    if given and parts.scheme != "rediss":
        raise ValueError("takes options after a ? only with rediss://, of TLS")
    options = {"ssl_cert_reqs": "required", "ssl_check_hostname": True} if parts.scheme == "rediss" else {}
    for name, value in given:
        if name not in _READERS:
            raise ValueError(f"takes only these options after the ?: {', '.join(_READERS)}")
        try:
            options[name] = _READERS[name](value)
        except KeyError:
            raise ValueError(f"{name} is {_VALUES[name]}") from None
    return options


def without_options(url: str) -> str:
    """The URL for whoever is told the options apart from it."""
    return urlsplit(url)._replace(query="").geturl()


def tls_trouble(error: BaseException) -> str | None:
    """What is wrong with TLS, and what to do about it; None where an error has another cause."""
    for cause in _causes(error):
        if isinstance(cause, ssl.SSLCertVerificationError):
            return f"its certificate is not accepted ({cause.verify_message.rstrip('.')}): {_advice(cause.verify_code)}"
        if isinstance(cause, ssl.SSLError):
            return f"no TLS could be agreed on ({cause.reason or type(cause).__name__})"
        if isinstance(cause, FileNotFoundError):
            return "a file that its URL names (ssl_ca_certs, ssl_certfile or ssl_keyfile) is not there"
    return None


def _advice(code: int) -> str:
    if code in _WRONG_NAME:
        return "give the host in its URL by a name that the certificate holds"
    if code in _WRONG_TIME:
        return "have it renewed, or set this machine's clock"
    return "name the file of the CA that signed it in its URL, as in rediss://HOST:6379/0?ssl_ca_certs=/path/to/ca.pem"


def _causes(error: BaseException) -> Iterator[BaseException]:
    """An error and what led to it; redis-py and kombu hide that behind errors of their own."""
    cause: BaseException | None = error
    while cause is not None:
        yield cause
        cause = cause.__cause__ or cause.__context__
