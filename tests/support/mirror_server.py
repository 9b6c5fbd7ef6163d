"""A provider at its worst: it fails in every way and quotes key and prompt back while it does."""

import json
from collections.abc import Callable
from typing import Any

from tests.support.fault_server import Exchange, FaultServerThread, head


def _said(exchange: Exchange) -> str:
    """The key, as the client sent it."""
    headers = exchange.headers
    return headers.get("authorization") or headers.get("x-goog-api-key") or "nothing"


def _error(exchange: Exchange) -> dict[str, Any]:
    """An error in the words of all protocols, each of them a quotation."""
    key, prompt = _said(exchange), exchange.body.decode()
    details = [{"reason": key, "metadata": {"key": key, "prompt": prompt}}]
    error = {"message": f"{key} {prompt}", "code": key, "type": key, "param": prompt, "status": key, "details": details}
    return {"error": error}


def _http(status: int, body: Callable[[Exchange], bytes], reason: bool = False) -> Callable[[Exchange], bytes]:
    def answer(exchange: Exchange) -> bytes:
        key, data = _said(exchange), body(exchange)
        headers = {"content_type": "application/json", "content_length": len(data), "location": f"/?key={key}"}
        top = head(status, www_authenticate=key, x_request_id=key, retry_after=key, **headers)
        return (top.replace(b" Status\r\n", f" {key}\r\n".encode(), 1) if reason else top) + data

    return answer


def _quoting(exchange: Exchange) -> bytes:
    return json.dumps(_error(exchange)).encode()


def _wrong_key(exchange: Exchange) -> bytes:
    error = _error(exchange)
    error["error"]["details"][0]["reason"] = "API_KEY_INVALID"
    return json.dumps(error).encode()


def _broken_json(exchange: Exchange) -> bytes:
    return b'{"choices": [' + _said(exchange).encode() + exchange.body


def _other_json(exchange: Exchange) -> bytes:
    key, prompt = _said(exchange), exchange.body.decode()
    return json.dumps({"choices": key, "usage": prompt, "candidates": prompt, "usageMetadata": key}).encode()


def _no_output(exchange: Exchange) -> bytes:
    """A good answer by every protocol, whose text is no summary."""
    text = f"{_said(exchange)} {exchange.body.decode()}"
    choice = {"message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
    candidate = {"content": {"role": "model", "parts": [{"text": text}]}, "finishReason": "STOP"}
    return json.dumps({"choices": [choice], "candidates": [candidate]}).encode()


def _no_http(exchange: Exchange) -> bytes:
    return f"220 {_said(exchange)} ready\r\n\r\n".encode()


FAULTS: dict[str, Callable[[Exchange], bytes]] = {
    "unauthorized": _http(401, _quoting),
    "wrong-key": _http(400, _wrong_key),
    "rejected": _http(400, _quoting),
    "reason": _http(403, _quoting, reason=True),
    "redirect": _http(307, _quoting),
    "limited": _http(429, _quoting),
    "failing": _http(500, _quoting),
    "broken-json": _http(200, _broken_json),
    "other-json": _http(200, _other_json),
    "no-output": _http(200, _no_output),
    "no-http": _no_http,
    "cut": lambda exchange: _http(200, _quoting)(exchange)[:-7],
}
"""What it answers, by the first part of the request's path."""


class MirrorServer(FaultServerThread):
    """Plays ``FAULTS`` to whatever protocol; ``http://…/unauthorized/v1`` is the base URL of one.

    ``heard`` holds the keys that were sent to it.
    """

    def __init__(self) -> None:
        super().__init__(self._mirror)
        self.heard = set[str]()

    async def _mirror(self, exchange: Exchange) -> None:
        self.heard.add(_said(exchange))
        fault = exchange.line.split()[1].split("/")[1]
        await exchange.send(FAULTS[fault](exchange))
        exchange.writer.close()
