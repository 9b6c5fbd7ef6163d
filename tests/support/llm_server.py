"""A provider that answers over real HTTP: llmock in a thread, scripted by whoever holds it."""

from collections.abc import Sequence
from types import TracebackType
from typing import Any, Self

from llmock.ratelimit import LimitSettings
from llmock.scenarios import behavior_from_dict
from llmock.testing import LLMockServer
from llmock.verdict import judge
from starlette.types import ASGIApp, Receive, Scope, Send

WAIT_S = 2.0
KEEP_ALIVE_S = 75
"""As nginx. Uvicorn's 5 s are what a test takes between two parts: a call that goes out while the server closes its
connection counts as lost."""

_WHO = frozenset({b"authorization", b"x-goog-api-key", b"x-goog-api-client", b"user-agent"})


class LLMServer:
    """OpenAI, Groq and Gemini on a free port of this machine.

    ``with LLMServer() as server``; other processes reach it too. A scenario is a list of llmock's behaviours as JSON,
    say ``{"type": "fail", "status": 429, "retry_after": 2, "times": 3}`` or ``{"type": "reply", "text": "hello"}``;
    ``"times": None`` makes one permanent. What nothing is scripted for gets an answer that fits its schema.
    """

    def __init__(self) -> None:
        self._server = LLMockServer()
        self.heard = set[str]()
        """Keys and names that clients gave for themselves, since the start."""
        self._server.app.add_middleware(_Ear, heard=self.heard)

    def __enter__(self) -> Self:
        self._server.start()
        assert self._server._server is not None
        self._server._server.config.timeout_keep_alive = KEEP_ALIVE_S
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._server._server is not None:
            self._server._server.force_exit = True  # or it waits ten seconds for answers that nobody waits for
        self._server.stop()

    @property
    def url(self) -> str:
        """Root of the server."""
        return self._server.url

    @property
    def openai_url(self) -> str:
        """Base URL for an ``openai-compatible`` provider."""
        return f"{self.url}/v1"

    @property
    def groq_url(self) -> str:
        """Base URL for a ``groq`` provider."""
        return f"{self.url}/groq"

    @property
    def gemini_url(self) -> str:
        """Base URL for a ``gemini`` provider."""
        return f"{self.url}/gemini"

    def scenario(self, behaviors: Sequence[dict[str, Any]]) -> None:
        """Queues what the next requests meet."""
        self._server.state.scenarios.add(*(behavior_from_dict(item) for item in behaviors))

    def quota(
        self, requests_per_minute: int | None = None, tokens_per_minute: int | None = None, left: float = 1.0
    ) -> None:
        """Sets real quotas for OpenAI's protocol: buckets that fill evenly and refuse with 429 when they are empty.

        Args:
            requests_per_minute: None is unlimited.
            tokens_per_minute: the prompt's bytes / 4 and the upper bound of the answer count, not what was used.
            left: the part of the bucket that is left at the start; full, it would let a minute's calls through at once.
        """
        limiter = self._server.state.limiter
        limiter.configure(LimitSettings(rpm=requests_per_minute, tpm=tokens_per_minute))
        for _ in range(round((1 - left) * (requests_per_minute or 1))):
            limiter.admit("openai", "Bearer none", 0)
        limiter.admit("openai", "Bearer none", round((1 - left) * (tokens_per_minute or 0)))

    def requests(self) -> list[dict[str, Any]]:
        """Every request since the last reset, in order of arrival: path, body, status, fault, times."""
        return [record.to_dict() for record in self._server.state.journal.records(wait=WAIT_S)]

    def verdict(self) -> dict[str, Any]:
        """llmock's judgement of the client: ignored Retry-After, retry storms and the like."""
        return judge(self._server.state.journal.records(wait=WAIT_S)).to_dict()

    def reset(self) -> None:
        """Forgets requests and what is queued."""
        self._server.state.reset()


class _Ear:
    """Keeps what requests say of their sender, which the server itself forgets."""

    def __init__(self, app: ASGIApp, heard: set[str]) -> None:
        self._app, self._heard = app, heard

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._heard |= {value.decode() for name, value in scope.get("headers", ()) if name in _WHO}
        await self._app(scope, receive, send)
