"""The job kinds; a new one is one module and one line in this table."""

from config.errors import UnknownNameError
from jobs.kind import Kind
from jobs.kinds import check_provider, complete, list_models, summarise_ticket

KINDS: dict[str, Kind] = {
    kind.name: kind for kind in (summarise_ticket.KIND, complete.KIND, check_provider.KIND, list_models.KIND)
}


def kind_named(name: str) -> Kind:
    """The kind of that name.

    Raises:
        UnknownNameError: there is none; those that ask a model are named.
    """
    if name not in KINDS:
        raise UnknownNameError("kind", name, tuple(sorted(key for key, kind in KINDS.items() if kind.request)))
    return KINDS[name]
