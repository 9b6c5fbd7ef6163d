"""Reading batches: every bad line is named before anything is enqueued, and nothing of it is quoted."""

import io
from pathlib import Path

import pytest

from config.errors import InvalidInputError, UsageError
from jobs.kinds import KINDS
from producer import input_format
from producer.intake import Intake, open_input

GOOD = b'{"id": "a", "subject": "s", "body": "b"}'


def read(text: bytes, skip_invalid: bool = False) -> Intake:
    return Intake(KINDS["summarise_ticket"], io.BytesIO(text), skip_invalid)


def named(letter: str) -> bytes:
    return GOOD.replace(b'"a"', f'"{letter}"'.encode())


BAD_LINES = [
    (b"this is SECRET no json", "input: Invalid JSON"),
    (b'{"id": "x", "subject": "SECRET"}', "body: Field required"),
    (b'{"id": "x", "subject": "SECRET", "body": ', "input: Invalid JSON"),
    (b'["SECRET"]', "input"),
    (b'{"id": "x", "subject": "SECRET \xff", "body": "b"}', "not UTF-8 at byte 32"),
    (b'{"id": "x", "subject": "SECRET \\ud800", "body": "b"}', "input: Invalid JSON"),
    (b'{"id": "a", "subject": "SECRET", "body": "b"}', "repeats the custom_id or id of line 1"),
    (b'{"custom_id": "a", "id": "z", "subject": "SECRET", "body": "b"}', "repeats the custom_id or id of line 1"),
    (b'{"custom_id": [], "id": "z", "subject": "SECRET", "body": "b"}', "custom_id or id"),
    (b'{"id": "", "subject": "SECRET", "body": "b"}', "custom_id or id"),
]


@pytest.mark.parametrize(("line", "reason"), BAD_LINES)
def test_a_bad_line_refuses_the_file_with_its_number(line: bytes, reason: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        list(read(b"\n".join([GOOD, b"", line, named("c")])))
    assert f"line 3: {reason}" in str(caught.value)
    assert "SECRET" not in str(caught.value)


def test_all_bad_lines_are_listed_and_the_first_twenty_shown() -> None:
    with pytest.raises(InvalidInputError) as caught:
        list(read(b"\n".join([GOOD, *[b"no json"] * 25])))
    assert [number for number, _ in caught.value.problems] == list(range(2, 27))
    assert str(caught.value).splitlines()[-1] == "… and 5 more"


def test_bad_lines_may_be_left_out() -> None:
    reading = read(b"\n".join([GOOD, b"no json", named("c")]), skip_invalid=True)
    assert [job.custom_id for job in reading] == ["a", "c"]
    assert [number for number, _ in reading.problems] == [2]


@pytest.mark.parametrize("skip_invalid", [False, True])
@pytest.mark.parametrize("text", [b"", b"\n \n", b"no json\n"])
def test_nothing_valid_is_an_error(text: bytes, skip_invalid: bool) -> None:
    with pytest.raises(InvalidInputError):
        list(read(text, skip_invalid))


def test_endings_of_lines_and_a_byte_order_mark_do_not_matter() -> None:
    reading = read(b"\xef\xbb\xbf" + GOOD + b"\r\n" + named("c"))
    assert [job.custom_id for job in reading] == ["a", "c"]


def test_a_line_without_a_name_is_named_by_its_number() -> None:
    reading = Intake(KINDS["complete"], io.BytesIO(b'{"prompt": "x"}\n{"prompt": "y", "id": 5}\n'))
    assert [job.custom_id for job in reading] == ["line-1", "5"]


def test_a_line_that_is_too_long_is_a_problem_and_not_a_memory_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(input_format, "MAX_LINE_BYTES", 100)
    reading = read(GOOD + b"\n" + GOOD.replace(b'"b"', b'"' + b"x" * 1000 + b'"') + b"\n" + named("c"), True)
    assert [job.custom_id for job in reading] == ["a", "c"]
    assert reading.problems[0][0] == 2


@pytest.mark.parametrize("name", ["missing.jsonl", "."])
def test_a_file_that_cannot_be_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match="cannot be read"), open_input(name):
        pytest.fail("it was opened")
