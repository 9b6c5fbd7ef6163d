"""The error tree: every class rebuilds from its arguments, and the drawing at the top of the file is true."""

import inspect
import pickle
import re

import pytest

from config import errors

CLASSES = [c for _, c in inspect.getmembers(errors, inspect.isclass) if issubclass(c, errors.TicketflowError)]
ARGUMENTS: dict[type, tuple[object, ...]] = {
    errors.UnknownNameError: ("provider", "grok", ("groq", "openai")),
    errors.InvalidInputError: (((3, "not JSON"),),),
    errors.ServiceUnavailableError: ("Redis", "localhost:6379", "refused"),
    errors.NoWorkerError: ("a worker", "localhost:6379"),
    errors.StartFailedError: ("Valkey", "valkey.log", "no such file"),
    errors.JobFailedError: ("id", "ProviderServerError", "503"),
    errors.WaitTimeoutError: ("job", "id", 3.0),
    errors.BatchPausedError: ("id", "its cap is reached"),
}


@pytest.mark.parametrize("cls", CLASSES, ids=lambda c: c.__name__)
def test_celery_and_pickle_can_rebuild_it(cls: type[errors.TicketflowError]) -> None:
    default = ("groq", "words", 503, 1.5) if issubclass(cls, errors.CallError) else ("words",)
    error = cls(*ARGUMENTS.get(cls, default))
    for again in (pickle.loads(pickle.dumps(error)), cls(*error.args)):
        assert type(again) is cls
        assert str(again) == str(error) != ""
        assert vars(again) == vars(error)


def test_the_tree_is_drawn_as_it_is() -> None:
    drawn = dict[str, str]()
    path: list[str] = []
    for line in (errors.__doc__ or "").splitlines():
        found = re.match(r"^((?:[│ ] {3}|[├└]── )*)([A-Z]\w+Error)\b", line)
        if found:
            depth = len(found[1]) // 4
            path = [*path[:depth], found[2]]
            drawn[found[2]] = path[-2] if depth else "Exception"
    assert drawn == {cls.__name__: cls.__base__.__name__ for cls in CLASSES if cls.__base__}


def test_exit_statuses() -> None:
    assert errors.UsageError.exit_status == 2
    assert errors.ServiceUnavailableError.exit_status == 3
    assert errors.JobFailedError.exit_status == errors.CallError.exit_status == 1


def test_long_lists_of_problems_are_cut() -> None:
    text = str(errors.InvalidInputError(tuple((n, "bad") for n in range(1, 31))))
    assert text.splitlines()[0] == "line 1: bad"
    assert text.splitlines()[-1] == "… and 10 more"
    assert len(text.splitlines()) == 21
