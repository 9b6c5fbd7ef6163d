"""Batches from CSV, TSV and compressed files, and columns mapped to the fields of a kind."""

import csv
import gzip
import io
import json
import tracemalloc
import zlib
from pathlib import Path

import pytest

from config.errors import InvalidInputError, UsageError
from jobs.kind import NewJob
from jobs.kinds import KINDS
from producer import input_format, tables
from producer.batch_input import open_batch, rows_of
from producer.intake import Intake
from producer.preview import preview

TICKET, PROMPT = KINDS["summarise_ticket"], KINDS["complete"]
LINE = b'{"id":"a","subject":"s","body":"b"}\n'

ZENDESK = (
    "\ufeffTicket ID,Subject,Description,Requester,Requester email,Status\r\n"
    '4711,"Login, again","First line\r\nsecond ""quoted"" line",Anna,anna@example.com,open\r\n'
    "\r\n"
    ",,,,,\r\n"
    "4712,Größe,kurz,Bert,bert@example.com,closed\r\n"
)
ZENDESK_MAPS = ("id=Ticket ID", "body=description")


def read(
    text: str | bytes, *maps: str, form: str = "csv", skip: bool = False, kind: str = "summarise_ticket"
) -> Intake:
    rows = rows_of(form, KINDS[kind], maps)  # type: ignore[arg-type]
    return Intake(KINDS[kind], io.BytesIO(text.encode() if isinstance(text, str) else text), skip, rows)


def inputs(jobs: Intake | list[NewJob]) -> list[dict[str, object]]:
    return [json.loads(job.input) for job in jobs]


def test_an_export_with_bom_quotes_newlines_and_crlf_is_mapped() -> None:
    intake = read(ZENDESK, *ZENDESK_MAPS)
    jobs = list(intake)
    assert inputs(jobs) == [
        {"id": "4711", "subject": "Login, again", "body": 'First line\r\nsecond "quoted" line'},
        {"id": "4712", "subject": "Größe", "body": "kurz"},
    ]
    assert [job.custom_id for job in jobs] == ["4711", "4712"]


def test_no_column_that_nobody_asked_for_is_sent() -> None:
    assert "example.com" not in "".join(job.input for job in read(ZENDESK, *ZENDESK_MAPS))
    line = b'{"id":"a","Title":"s","body":"b","email":"anna@example.com"}\n'
    assert inputs(read(line, "subject=Title", form="jsonl")) == [{"id": "a", "subject": "s", "body": "b"}]


@pytest.mark.parametrize("delimiter", [",", ";", "\t", "|"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_delimiters_and_ends_of_lines(delimiter: str, end: str) -> None:
    header = ["ID", "Subject", "Body", "the, rest; of it"]
    out = io.StringIO(newline="")
    writer = csv.writer(out, delimiter=delimiter, lineterminator=end)
    writer.writerows([header, ["1", "a;b,c\td|e", "x", ""], ["2", "s", "y", "z"]])
    assert [row["subject"] for row in inputs(read(out.getvalue()))] == ["a;b,c\td|e", "s"]


BAD_ROWS = [
    ("x,SECRET", "2 cells where the header has 3"),
    ("x,SECRET,b,more", "4 cells where the header has 3"),
    ('x,"SEC"RET,b', "not CSV"),
    (",SECRET,b", "custom_id or id"),
    ("x,SECRET \0,b", "holds a zero byte"),
    ("a,SECRET,b", "repeats the custom_id or id of line 2"),
]


@pytest.mark.parametrize(("row", "reason"), BAD_ROWS)
def test_a_bad_row_is_named_by_the_line_on_which_it_begins(row: str, reason: str) -> None:
    text = f'id,subject,body\na,"two\nlines",b\n{row}\nc,s,b\n'
    with pytest.raises(InvalidInputError) as caught:
        list(read(text))
    assert [number for number, _ in caught.value.problems] == [4]
    assert caught.value.problems[0][1].startswith(reason)
    assert "SECRET" not in str(caught.value)
    assert [job.custom_id for job in read(text, skip=True)] == ["a", "c"]


def test_bytes_that_are_no_utf8_matter_only_in_columns_that_are_sent() -> None:
    text = b"id,subject,body,name\n1,s,b,J\xf6rg\n2,s,J\xf6rg,x\n3,s,b,x\n"
    intake = read(text, skip=True)
    assert [job.custom_id for job in intake] == ["1", "3"]
    assert intake.problems == [(3, "not UTF-8: save the file as CSV UTF-8")]


def test_a_quote_that_is_never_closed_is_named_where_it_opens() -> None:
    intake = read('id,subject,body\na,s,b\nc,"s,b\nd,s,b\n', skip=True)
    assert [job.custom_id for job in intake] == ["a"]
    assert intake.problems == [(3, "a quote that opens in this row is not closed")]


def test_a_row_that_is_too_long_is_a_problem_and_not_a_memory_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tables, "MAX_LINE_BYTES", 100)
    long_line, long_row = f"c,{'x' * 1000},b\n", 'd,"' + "line\n" * 30 + '",b\n'
    intake = read(f"id,subject,body\na,s,b\n{long_line}e,s,b\n{long_row}", skip=True)
    assert [job.custom_id for job in intake] == ["a", "e"]
    assert [number for number, _ in intake.problems][:2] == [3, 5]
    assert "longer than" in intake.problems[0][1]
    with pytest.raises(UsageError, match="line 1, the header: longer than"):
        list(read("x" * 1000))


def test_a_cell_longer_than_the_csv_module_takes_by_itself() -> None:
    assert len(str(inputs(read(f"id,subject,body\na,s,{'x' * 300_000}\n"))[0]["body"])) == 300_000


def test_empty_cells_are_left_out_unless_they_must_be_there() -> None:
    assert inputs(read("id,subject,body,custom_id\n1,,b,\n")) == [{"id": "1", "subject": "", "body": "b"}]
    rows = inputs(read("Prompt,max_tokens,temperature\nhi,,\nho,20,0.5\n", kind="complete"))
    assert rows == [{"prompt": "hi"}, {"prompt": "ho", "max_tokens": 20, "temperature": 0.5}]


def test_a_field_that_takes_a_list_is_filled_on_request_alone_and_from_json() -> None:
    text = 'id,subject,body,comments\n1,s,b,"[{""body"": ""hello""}]"\n2,s,b,some words\n3,s,b,\n'
    assert [sorted(row) for row in inputs(read(text))] == [["body", "id", "subject"]] * 3
    intake = read(text, "comments=comments", skip=True)
    assert [row.get("comments") for row in inputs(intake)] == [[{"body": "hello"}], None]
    assert intake.problems == [(3, "comments: the cell has to hold JSON")]


WRONG_MAPS = [
    (("body",), "write FIELD=COLUMN"),
    (("=x",), "write FIELD=COLUMN"),
    (("bdoy=Text",), r"no field 'bdoy' \(did you mean 'body'\?\); fields: id, subject, body, comments, custom_id"),
    (("body=Text", "body=Title"), "named twice"),
    (("body=Txet",), r"no column 'Txet' \(did you mean 'Text'\?\). Columns: ID, Title, Text, Title"),
    (("body=Text",), "no column for subject: say --map subject=COLUMN. Columns: ID, Title, Text, Title"),
    (("body=Text", "subject=Title"), r"2 columns are named 'Title' \(#2, #4\).*--map subject=#2"),
    (("body=#5", "subject=#2"), "no column '#5'"),
]


@pytest.mark.parametrize(("maps", "words"), WRONG_MAPS)
def test_a_wrong_mapping_says_what_there_is(maps: tuple[str, ...], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        list(read("ID,Title,Text,Title\n1,a,b,c\n", *maps))


def test_columns_that_are_named_alike_are_chosen_by_place() -> None:
    jobs = read("ID,Title,Text,Title\n1,a,b,c\n", "body=Text", "subject=#4")
    assert inputs(jobs) == [{"id": "1", "subject": "c", "body": "b"}]
    with pytest.raises(UsageError, match="2 columns are named 'id'"):
        list(read("ID,Id,subject,body\n1,2,s,b\n"))
    assert inputs(read("ID,id,subject,body\n1,2,s,b\n"))[0]["id"] == "2", "the exact name wins"


def test_a_table_in_which_nothing_fits_is_refused() -> None:
    with pytest.raises(UsageError, match="no column fits; fields: prompt, "):
        list(read("a,b\n1,2\n", kind="complete"))


@pytest.mark.parametrize("text", ["", "\n\n", "id,subject,body\n", "id,subject,body\r\n,,\r\n"])
def test_a_table_without_rows_is_an_error(text: str) -> None:
    with pytest.raises(InvalidInputError, match="there is no input"):
        list(read(text))


def test_keys_of_json_lines_are_mapped_with_their_types() -> None:
    lines = b'{"ID": 7, "Title": "s", "text": "b", "x": 1}\nno json\n[1]\n{"id": "8", "text": "b"}\n'
    intake = read(lines, "subject=title", "body=text", form="jsonl", skip=True)
    assert inputs(intake) == [{"id": 7, "subject": "s", "body": "b"}]
    assert [number for number, _ in intake.problems] == [2, 3, 4]
    with pytest.raises(UsageError, match=r"no column 'Titel' \(did you mean 'Title'\?\). Columns: ID, Title, text, x"):
        list(read(lines, "subject=Titel", "body=text", form="jsonl", skip=True))
    nan = read(b'{"prompt": "x", "t": NaN}', "temperature=t", form="jsonl", kind="complete", skip=True)
    with pytest.raises(InvalidInputError, match="temperature"):
        list(nan)


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("a.jsonl", "jsonl"), ("a.ndjson", "jsonl"), ("a", "jsonl"), ("-", "jsonl"), ("A.CSV", "csv"),
        ("a.csv.gz", "csv"), ("a.tsv", "tsv"), ("a.tsv.GZ", "tsv"), ("csv", "jsonl"), ("a.jsonl.gz", "jsonl"),
    ],
)  # fmt: skip
def test_the_format_is_found_by_the_name(name: str, form: str) -> None:
    assert input_format.input_format(name) == form
    assert input_format.input_format(name, "csv") == "csv"
    with pytest.raises(UsageError, match="no input format 'xml': it is one of jsonl, csv, tsv"):
        input_format.input_format(name, "xml")


@pytest.mark.parametrize("name", ["a.jsonl.gz", "a.jsonl"])
def test_what_is_zipped_is_unzipped_whatever_its_name(tmp_path: Path, name: str) -> None:
    for text in (gzip.compress(LINE), gzip.compress(LINE[:10]) + gzip.compress(LINE[10:]), LINE):
        (tmp_path / name).write_bytes(text)
        with open_batch(str(tmp_path / name), TICKET) as intake:
            assert [job.custom_id for job in intake] == ["a"]


def zipped(count: int, level: int = 9) -> bytes:
    return gzip.compress(b"".join(LINE.replace(b'"a"', b'"%d"' % n) for n in range(count)), level, mtime=0)


@pytest.mark.parametrize("skip", [False, True])
@pytest.mark.parametrize(
    ("text", "words"),
    [
        (zipped(5000)[:-20], "ends too early"),
        (zipped(5000)[:5000], "ends too early"),
        (zipped(50, level=0).replace(b'"49"', b'"94"'), "damaged"),
        (zipped(50)[:-8] + b"\0" * 8, "damaged"),
        (zipped(50) + b"garbage", "damaged"),
        (b"PK\x03\x04 workbook", "is a workbook"),
        (gzip.compress(b"PK\x03\x04 workbook", mtime=0), "is a workbook"),
        ("id;subject;body".encode("utf-16"), "is UTF-16"),
    ],
)
def test_a_file_that_is_damaged_enqueues_nothing_even_if_bad_rows_are_skipped(
    tmp_path: Path, text: bytes, words: str, skip: bool
) -> None:
    path = tmp_path / "tickets.gz"
    path.write_bytes(text)
    with pytest.raises(UsageError, match=words), open_batch(str(path), TICKET, skip_invalid=skip) as intake:
        list(intake)


@pytest.mark.parametrize("form", ["jsonl", "csv"])
def test_a_bomb_does_not_fill_the_memory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, form: str) -> None:
    """64 MiB without an end of line, in a file of 64 KiB."""
    monkeypatch.setattr(input_format, "MAX_LINE_BYTES", 2**20)
    monkeypatch.setattr(tables, "MAX_LINE_BYTES", 2**20)
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    path = tmp_path / "bomb.gz"
    with path.open("wb") as file:
        file.write(packer.compress(b"id,subject,body\n" if form == "csv" else b""))
        for _ in range(64):
            file.write(packer.compress(b"a" * 2**20))
        file.write(packer.flush())
    tracemalloc.start()
    try:
        with pytest.raises(InvalidInputError, match="longer than"), open_batch(str(path), TICKET, form) as intake:
            list(intake)
        assert tracemalloc.get_traced_memory()[1] < 16 * 2**20
    finally:
        tracemalloc.stop()


def test_a_preview_counts_all_rows_and_shows_the_first() -> None:
    seen = preview(read(ZENDESK + "4713,s\r\n4714,s,b,c,d,e\r\n", *ZENDESK_MAPS, skip=True))
    assert (seen.valid, seen.invalid, seen.custom_id) == (3, 1, "4711")
    assert seen.first is not None
    assert seen.first["subject"] == "Login, again"
    assert seen.problems == [(7, "2 cells where the header has 6")]
    assert seen.columns == {"id": "Ticket ID", "subject": "Subject", "body": "Description"}
    assert seen.left_out == ["Requester", "Requester email", "Status"]
    nothing = preview(read("", skip=True))
    assert (nothing.valid, nothing.first) == (0, None)
    assert nothing.problems == [(0, "there is no input in this file")]


def test_a_delimiter_within_quotes_of_the_header_counts_for_nothing() -> None:
    assert inputs(read('id;"subject";body;"a,b,c,d,e"\n1;s;b;x\n')) == [{"id": "1", "subject": "s", "body": "b"}]
