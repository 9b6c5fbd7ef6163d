"""Every error of the system, in one tree.

TicketflowError
├── UsageError                    the call was wrong; nothing was done                    (exit status 2)
│   ├── SettingsError             settings are missing or wrong, all of them listed
│   ├── InvalidInputError         an input does not fit its kind, or lines of a file do not
│   ├── UnknownNameError          no such kind, provider, job or batch
│   ├── InvalidProviderError      a provider definition that cannot be accepted
│   └── ConflictError             it exists already, or is in a state that does not allow it
├── ServiceUnavailableError       Redis, Postgres or Vault cannot be reached or refuses   (exit status 3)
│   ├── NoWorkerError             what only a worker can do was asked for, and none is running
│   └── StartFailedError          a server or program of ours did not start, or ended while it did
├── OutputError                   a results file could not be written                   (exit status 1)
├── JobFailedError                the job that was waited for ended without a result      (exit status 1)
├── NewerRevisionError            the job was dropped, since a newer revision of the same thing was accepted
├── WaitTimeoutError              the job or batch that was waited for is not done yet    (exit status 1)
├── BatchPausedError              the batch that was waited for goes on when somebody says so (exit status 1)
└── CallError                     one attempt at a job ended without a result; subclasses below say why
    ├── KeyMissingError           no key is stored for the provider
    ├── KeyUnavailableError       Vault cannot be asked for the key now
    ├── InputUnreadableError      the stored input does not fit its kind in this version
    ├── ProviderDisabledError     the provider was removed or switched off after the job was accepted
    ├── ProviderUnavailableError  it keeps failing and is left alone for a while: no call was made
    ├── EgressDeniedError         the provider's address is one that may not be dialled
    ├── ProviderAuthError         401: the key is wrong or was rotated
    ├── ProviderRejectedError     3xx, 400, 402, 403, 404, 422 …: the same request will be refused again
    ├── ProviderRateLimitedError  429
    ├── ProviderServerError       408, 409, 5xx
    ├── ProviderTimeoutError      no answer within the deadline
    ├── ProviderConnectionError   cut off, so that nobody knows how far the call had come
    │   └── ProviderUnreachableError  refused, no such name, no TLS: nothing of the call was sent
    ├── ProviderReplyError        an answer that is broken: cut short, too large, or not what the protocol says
    ├── OutputRefusedError        the provider's safety system or the model declined
    ├── OutputTruncatedError      the answer ended at the token limit
    ├── InvalidOutputError        the answer does not fit the kind's output, after one repair
    ├── WorkerLostError           the worker process died with the job in hand
    └── InternalError             a fault of this system; the worker's log has the traceback

Celery and pickle rebuild an error as ``cls(*args)``, so arguments are positional and all go to ``super().__init__``.
No message quotes a key, a prompt or a reply.
"""

from typing import ClassVar


class TicketflowError(Exception):
    """Base of all errors that a caller may see; its text is written for the person who reads it."""

    exit_status: ClassVar[int] = 1

    @property
    def error_type(self) -> str:
        """The name under which results, logs and scripts know this error."""
        return type(self).__name__


class UsageError(TicketflowError):
    """The call was wrong and nothing was done."""

    exit_status = 2


class SettingsError(UsageError):
    """One or more settings are missing or wrong; the message lists them all."""


class UnknownNameError(UsageError):
    """A kind, provider, job or batch of that name does not exist."""

    def __init__(self, what: str, name: str, known: tuple[str, ...] = ()) -> None:
        super().__init__(what, name, known)
        self.what, self.name, self.known = what, name, known

    def __str__(self) -> str:
        hint = f"; known: {', '.join(self.known)}" if self.known else ""
        return f"no {self.what} named {self.name!r}{hint}"


class InvalidInputError(UsageError):
    """Inputs do not fit their kind.

    ``problems`` holds ``(line number from 1, reason)`` pairs; line 0 stands for an input that is not a line of a file.
    """

    SHOWN: ClassVar[int] = 20

    def __init__(self, problems: tuple[tuple[int, str], ...]) -> None:
        super().__init__(problems)
        self.problems = problems

    def __str__(self) -> str:
        lines = [f"line {number}: {reason}" if number else reason for number, reason in self.problems[: self.SHOWN]]
        if len(self.problems) > self.SHOWN:
            lines.append(f"… and {len(self.problems) - self.SHOWN} more")
        return "\n".join(lines)


class InvalidProviderError(UsageError):
    """A provider definition cannot be accepted; the message says which field and why."""


class ConflictError(UsageError):
    """What was asked for clashes with what is there."""


class ServiceUnavailableError(TicketflowError):
    """Redis, Postgres or Vault cannot be reached, or refuses; ``address`` carries no credentials."""

    exit_status = 3

    def __init__(self, service: str, address: str, reason: str = "") -> None:
        super().__init__(service, address, reason)
        self.service, self.address, self.reason = service, address, reason

    def __str__(self) -> str:
        return f"{self.service} at {self.address} cannot be used" + (f": {self.reason}" if self.reason else "")


class NoWorkerError(ServiceUnavailableError):
    """What only a worker can do was asked for, and none is running."""

    def __str__(self) -> str:
        return (
            f"no worker process is running at {self.address}, and only workers read keys and reach providers: start "
            "one with `ticketflow up` or `celery -A worker.app worker -P threads -Q interactive,bulk`"
        )


class StartFailedError(ServiceUnavailableError):
    """A server or program did not start; ``address`` is its log file, ``reason`` says why and quotes that log's end."""

    def __str__(self) -> str:
        return f"{self.service} did not start: {self.reason}"


class OutputError(TicketflowError):
    """A results file could not be written; what was there before is unchanged."""


class JobFailedError(TicketflowError):
    """The job ended without a result."""

    def __init__(self, job_id: str, error_type_of_job: str, message: str) -> None:
        super().__init__(job_id, error_type_of_job, message)
        self.job_id, self.error_type_of_job, self.message = job_id, error_type_of_job, message

    def __str__(self) -> str:
        return f"job {self.job_id} did not succeed: {self.error_type_of_job}: {self.message}"


class NewerRevisionError(TicketflowError):
    """A newer revision of the same thing was accepted; a name for the ledger, whose statements drop the older job."""


class WaitTimeoutError(TicketflowError):
    """The job or batch is not done yet; it goes on."""

    def __init__(self, what: str, name: str, timeout_s: float) -> None:
        super().__init__(what, name, timeout_s)
        self.what, self.name, self.timeout_s = what, name, timeout_s

    def __str__(self) -> str:
        return f"{self.what} {self.name} is not done after {self.timeout_s:g} s; it goes on"


class BatchPausedError(TicketflowError):
    """The batch is paused until somebody decides; ``reason`` says in words why and what lets it go on."""

    def __init__(self, batch_id: str, reason: str) -> None:
        super().__init__(batch_id, reason)
        self.batch_id, self.reason = batch_id, reason

    def __str__(self) -> str:
        return f"batch {self.batch_id} is paused: {self.reason}"


class CallError(TicketflowError):
    """One attempt at a job ended without a result.

    Args:
        provider_id: the provider that was, or would have been, called.
        message: what happened, without content.
        status: the HTTP status where there was one.
        retry_after_s: seconds the provider asked us to wait.
        input_tokens: counted by the provider although nothing came of it.
        output_tokens: likewise; a truncated answer is paid for like any other.
    """

    retryable: ClassVar[bool] = False
    """Whether another attempt at the same provider can help."""

    def __init__(
        self,
        provider_id: str,
        message: str,
        status: int | None = None,
        retry_after_s: float | None = None,
        input_tokens: int = 0,
        output_tokens: int = 0,
    ) -> None:
        super().__init__(provider_id, message, status, retry_after_s, input_tokens, output_tokens)
        self.provider_id, self.message, self.status, self.retry_after_s = provider_id, message, status, retry_after_s
        self.input_tokens, self.output_tokens = input_tokens, output_tokens

    def __str__(self) -> str:
        return self.message


class KeyMissingError(CallError):
    """No key is stored for the provider."""

    @classmethod
    def for_provider(cls, provider_id: str) -> "KeyMissingError":
        """The one wording of this mistake."""
        return cls(provider_id, f"no key for provider {provider_id}: run `ticketflow providers set-key {provider_id}`")


class KeyUnavailableError(CallError):
    """Vault cannot be asked for the key now."""

    retryable = True


class InputUnreadableError(CallError):
    """The stored input does not fit its kind in this version of the worker."""


class ProviderDisabledError(CallError):
    """The provider was removed or switched off after the job was accepted."""


class ProviderUnavailableError(CallError):
    """The provider keeps failing and is left alone for ``retry_after_s`` more seconds: no call was made."""


class EgressDeniedError(CallError):
    """The provider's address is one that may not be dialled."""


class ProviderAuthError(CallError):
    """401: the key is wrong or was rotated; the caller reads the key afresh once before giving up."""


class ProviderRejectedError(CallError):
    """The provider refuses this request, and would again."""


class ProviderRateLimitedError(CallError):
    """429."""

    retryable = True


class ProviderServerError(CallError):
    """408, 409 or 5xx."""

    retryable = True


class ProviderTimeoutError(CallError):
    """No answer within the deadline."""

    retryable = True


class ProviderConnectionError(CallError):
    """The connection was cut off, or could not be made."""

    retryable = True


class ProviderUnreachableError(ProviderConnectionError):
    """The connection was refused or could not be made: nothing of the call was sent, so nothing is charged."""


class ProviderReplyError(CallError):
    """The answer is broken: cut short, too large, or not what the protocol says."""

    retryable = True


class OutputRefusedError(CallError):
    """The provider's safety system or the model declined."""


class OutputTruncatedError(CallError):
    """The answer ended at the token limit."""


class InvalidOutputError(CallError):
    """The answer does not fit the kind's output, after one repair."""


class WorkerLostError(CallError):
    """The worker process died with the job in hand."""


class InternalError(CallError):
    """A fault of this system; the worker's log has the traceback."""
