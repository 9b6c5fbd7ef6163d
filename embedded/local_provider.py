"""A small OpenAI-compatible server on this machine; its one model summarises by picking sentences, without a network.

``python -m embedded.local_provider --port 0`` prints ``{"base_url": …}`` once it listens. It ends on SIGTERM and
SIGINT, when its parent process ends (Linux), and with ``--exit-with-stdin`` when its standard input does. No text of a
request is logged.
"""

import argparse
import asyncio
import contextlib
import hashlib
import hmac
import json
import logging
import os
import signal
import sys
import threading
from collections.abc import Iterator

from aiohttp import web
from aiohttp.typedefs import Handler, Middleware

from embedded.chat_protocol import MODEL, ChatRequest, ProtocolError, check_model, parse, reply
from embedded.schema_filling import fill_schema
from embedded.summariser import summarise

HOST = "127.0.0.1"
KEY_VARIABLE = "LOCAL_PROVIDER_KEY_SHA256"
MAX_BODY_BYTES = 4 * 1024 * 1024
_INLINE_BYTES = 64 * 1024
"""Up to this size an answer takes 30 ms at worst (0.6 for a usual ticket): not worth a thread."""
_SHUTDOWN_S = 5.0

_log = logging.getLogger(__name__)


def application(key_sha256: str | None) -> web.Application:
    """The server's routes.

    Args:
        key_sha256: hex digest of the key that requests must carry; None lets in everybody.
    """
    app = web.Application(client_max_size=MAX_BODY_BYTES, middlewares=[_errors, _authorisation(key_sha256)])
    app.router.add_post("/v1/chat/completions", _chat_completions)
    app.router.add_get("/v1/models", _models)
    app.router.add_get("/v1/models/{id}", _model)
    return app


async def _chat_completions(request: web.Request) -> web.Response:
    body = await request.read()
    if len(body) <= _INLINE_BYTES:
        return web.json_response(text=_answer(body))
    return web.json_response(text=await asyncio.to_thread(_answer, body))


async def _models(_request: web.Request) -> web.Response:
    return web.json_response({"object": "list", "data": [_MODEL_OBJECT]})


async def _model(request: web.Request) -> web.Response:
    check_model(request.match_info["id"])
    return web.json_response(_MODEL_OBJECT)


_MODEL_OBJECT = {"id": MODEL, "object": "model", "created": 1767225600, "owned_by": "local"}


def _answer(body: bytes) -> str:
    request = parse(body)
    return json.dumps(reply(request, _content(request)), ensure_ascii=False)


def _content(request: ChatRequest) -> str:
    summary, schema = summarise(request.document), request.json_schema
    if schema is None:
        return summary.summary
    try:
        return json.dumps(fill_schema(schema, summary), ensure_ascii=False)
    except (TypeError, AttributeError, KeyError, ValueError, RecursionError, IndexError, StopIteration):
        raise ProtocolError(400, "Invalid schema for response_format", "response_format", "invalid_value") from None


@web.middleware
async def _errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Gives all errors OpenAI's shape; the log gets an unexpected one's class: its text may quote a ticket."""
    try:
        return await handler(request)
    except ProtocolError as error:
        refused = error
    except web.HTTPRequestEntityTooLarge:
        refused = ProtocolError(413, f"The request body is larger than {MAX_BODY_BYTES} bytes", None, "too_large")
    except web.HTTPException as error:
        refused = ProtocolError(error.status, f"{error.reason}: {request.method} {request.path[:200]}")
    except ConnectionError:
        refused = ProtocolError(400, "The request was cut off")  # the client is gone: nobody will read this
    except Exception as error:
        _log.error("request failed: %s", type(error).__name__)
        refused = ProtocolError(500, "The server had an error while processing your request.")
    return web.json_response(refused.body(), status=refused.status)


def _authorisation(key_sha256: str | None) -> Middleware:
    """Middleware that asks for the key, where there is one; compared in constant time, and known by its hash alone."""

    @web.middleware
    async def check(request: web.Request, handler: Handler) -> web.StreamResponse:
        scheme, _, key = request.headers.get("Authorization", "").partition(" ")
        given = hashlib.sha256(key.strip().encode(errors="replace")).hexdigest()
        right = scheme.lower() == "bearer" and hmac.compare_digest(given.encode(), (key_sha256 or "").lower().encode())
        if key_sha256 and not right:
            raise ProtocolError(401, "Incorrect API key provided.", None, "invalid_api_key")
        return await handler(request)

    return check


def _without_text(record: logging.LogRecord) -> bool:
    """Takes tracebacks off what aiohttp logs, since its errors about malformed HTTP quote it; the class stays."""
    if isinstance(record.exc_info, tuple) and record.exc_info[0]:
        record.msg, record.args = f"{record.getMessage()}: {record.exc_info[0].__name__}", ()
        record.exc_info = None
    return True


async def serve(port: int, key_sha256: str | None, exit_with_stdin: bool) -> None:
    """Serves until the process is told to stop; port 0 takes a free one."""
    stop = asyncio.Event()
    _log.addFilter(_without_text)
    app = application(key_sha256)
    runner = web.AppRunner(app, access_log=None, logger=_log, shutdown_timeout=_SHUTDOWN_S)
    await runner.setup()
    try:
        with _end_of_parent(stop):
            _stop_on_signals(stop)
            if exit_with_stdin:
                _stop_on_end_of_stdin(stop)
            await web.TCPSite(runner, HOST, port).start()
            print(json.dumps({"base_url": f"http://{HOST}:{runner.addresses[0][1]}/v1"}), flush=True)
            await stop.wait()
    finally:
        await runner.cleanup()


def _stop_on_signals(stop: asyncio.Event) -> None:
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(NotImplementedError):  # Windows: Ctrl-C is a KeyboardInterrupt there
            loop.add_signal_handler(number, stop.set)


@contextlib.contextmanager
def _end_of_parent(stop: asyncio.Event) -> Iterator[None]:
    """Stops when the parent process ends; by a pidfd: PR_SET_PDEATHSIG fires when the parent's *thread* ends."""
    loop = asyncio.get_running_loop()
    try:
        parent = os.pidfd_open(os.getppid()) if sys.platform == "linux" else None
    except OSError:  # the parent is gone already, or the kernel does not let us look
        parent = None
    if parent is None:
        yield
        return
    loop.add_reader(parent, stop.set)
    try:
        yield
    finally:
        loop.remove_reader(parent)
        os.close(parent)


def _stop_on_end_of_stdin(stop: asyncio.Event) -> None:
    """Reads in a thread, since a file or /dev/null as standard input cannot be watched by the loop."""
    loop = asyncio.get_running_loop()

    def read() -> None:
        with contextlib.suppress(OSError):
            while os.read(0, 4096):
                pass
        with contextlib.suppress(RuntimeError):  # the loop is closed: we are ending anyway
            loop.call_soon_threadsafe(stop.set)

    threading.Thread(target=read, daemon=True).start()


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(
        prog="python -m embedded.local_provider", description=(__doc__ or "").split("\n")[0]
    )
    parser.add_argument("--port", type=int, default=0, help="0 takes a free port")
    parser.add_argument("--exit-with-stdin", action="store_true", help="end when standard input ends")
    arguments = parser.parse_args()
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(serve(arguments.port, os.environ.get(KEY_VARIABLE) or None, arguments.exit_with_stdin))


if __name__ == "__main__":
    main()
