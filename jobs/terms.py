"""What is asked with a job: of whom, and what makes it one of its kind."""

from dataclasses import dataclass

from config.errors import InvalidInputError

MAX_NAME = 200
"""Characters of a name that a caller gives."""

MAX_REVISION = 2**63 - 1


@dataclass(frozen=True)
class Target:
    """What is to be done with inputs, and by whom.

    Args:
        kind: name of the job kind.
        provider_id: who is asked first.
        model: of that provider; None takes its default.
        reuse_s: how old an earlier result may be that serves instead of a call; None makes the call.
        fallbacks: who is asked after it, in order; with their default models.
        fail_fast: a job does not wait for a provider that is left alone.
    """

    kind: str
    provider_id: str
    model: str | None = None
    reuse_s: float | None = None
    fallbacks: tuple[str, ...] = ()
    fail_fast: bool = False

    @property
    def other_providers(self) -> list[str] | None:
        """The fallbacks as they are stored: null for none, which takes no room."""
        return list(self.fallbacks) or None


@dataclass(frozen=True)
class Terms:
    """What makes a job one of its kind; each part may be None.

    Args:
        idempotency_key: asked again under it, the first job is the answer.
        supersede_key: names the thing, such as a ticket, that this is a revision of; for each kind by itself.
        revision: of that thing, from 0; the newest is worth running.

    Raises:
        InvalidInputError: a key is empty or too long, or one of key and revision is missing.
    """

    idempotency_key: str | None = None
    supersede_key: str | None = None
    revision: int | None = None

    def __post_init__(self) -> None:
        check_name("idempotency_key", self.idempotency_key)
        check_name("supersede_key", self.supersede_key)
        if (self.supersede_key is None) != (self.revision is None):
            raise InvalidInputError(((0, "supersede_key and revision: give both or none"),))
        if self.revision is not None and not (type(self.revision) is int and 0 <= self.revision <= MAX_REVISION):
            raise InvalidInputError(((0, f"revision: a whole number from 0 to {MAX_REVISION}"),))


def check_name(what: str, name: object) -> None:
    """Judges a name that a caller may give, or None.

    Raises:
        InvalidInputError: it is empty, too long, or no text that Postgres can keep.
    """
    if name is None:
        return
    if not isinstance(name, str) or not 0 < len(name) <= MAX_NAME or "\0" in name or not _is_unicode(name):
        raise InvalidInputError(((0, f"{what}: 1 to {MAX_NAME} characters"),))


def _is_unicode(text: str) -> bool:
    """Half a surrogate pair cannot be sent to Postgres; command lines that are not UTF-8 hold such."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
