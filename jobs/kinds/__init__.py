"""The job kinds; a new one is one module and one line in this table."""

from config.errors import UnknownNameError
from jobs.kind import Kind
from jobs.kinds import complete, summarise_ticket

KINDS: dict[str, Kind] = {kind.name: kind for kind in (summarise_ticket.KIND, complete.KIND)}


def kind_named(name: str) -> Kind:
    """The kind of that name.

    Raises:
        UnknownNameError: there is none; the known ones are named.
    """
    if name not in KINDS:
        raise UnknownNameError("kind", name, tuple(sorted(KINDS)))
    return KINDS[name]
