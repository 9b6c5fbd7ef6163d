"""Results files: their formats, and what becomes of them when they cannot be finished."""

import csv
import gzip
import io
import json
import os
import subprocess
import sys
import zlib
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from config.errors import OutputError, ServiceUnavailableError, UsageError
from jobs.kinds import KINDS
from jobs.views import Job, JobError, TokenUsage
from producer import parquet_results
from producer.result_formats import cell_of, cells_of, columns_of, output_format
from producer.results import open_results, write_text
from tests.support.full_disk import full_disk

KIND = "summarise_ticket"
SUMMARY: dict[str, Any] = {
    "title": "Login, broken",
    "summary": 'He said "no",\nand left.',
    "sentiment": "negative",
    "priority": "high",
    "action_items": ["call", "größer, bitte"],
}


def job(name: str, result: dict[str, Any] | None = SUMMARY) -> Job:
    return Job(
        job_id=f"id-{name}", custom_id=name, batch_id="b", kind=KIND, provider_id="groq", model="m",
        state="succeeded" if result else "failed", result=result,
        error=None if result else JobError(type="ProviderServerError", message="503, three times"),
        usage=TokenUsage(input_tokens=7, output_tokens=3), provider_generation=1, key_version=None, attempts=1,
        created_at=datetime.now(UTC), finished_at=datetime.now(UTC), duration_ms=5,
    )  # fmt: skip


def write(jobs: list[Job], name: str, form: str | None = None) -> None:
    with open_results(name, KIND, form) as results:
        results.write(jobs)


HEADER = [
    "custom_id", "job_id", "state", "title", "summary", "sentiment", "priority", "action_items", "error_type",
    "error_message", "provider_id", "model", "input_tokens", "output_tokens", "reused_from",
]  # fmt: skip


@pytest.mark.parametrize(("name", "delimiter"), [("a.csv", ","), ("a.tsv", "\t"), ("a.csv.gz", ",")])
def test_a_table_holds_names_output_and_errors(tmp_path: Path, name: str, delimiter: str) -> None:
    write([job("a"), job("b", None)], name)
    raw = (tmp_path / name).read_bytes()
    text = (gzip.decompress(raw) if name.endswith(".gz") else raw).decode()
    header, first, second = csv.reader(text.splitlines(keepends=True), delimiter=delimiter)
    assert header == HEADER
    assert dict(zip(header, first, strict=True)) | {"action_items": None} == {
        **SUMMARY, "custom_id": "a", "job_id": "id-a", "state": "succeeded", "action_items": None, "error_type": "",
        "error_message": "", "provider_id": "groq", "model": "m", "input_tokens": "7", "output_tokens": "3",
        "reused_from": "",
    }  # fmt: skip
    assert json.loads(first[header.index("action_items")]) == SUMMARY["action_items"]
    assert second[:5] == ["b", "id-b", "failed", "", ""]
    assert "ProviderServerError" in second


@pytest.mark.parametrize("name", ["a.csv", "a.tsv", "a.csv.gz", "a.parquet", "a.jsonl"])
def test_every_format_says_whose_result_served_again(tmp_path: Path, name: str) -> None:
    write([job("paid"), job("free").model_copy(update={"reused_from": "id-paid"})], name)
    raw = (tmp_path / name).read_bytes()
    if name.endswith(".parquet"):
        rows = pq.read_table(tmp_path / name).to_pylist()
    elif name.endswith(".jsonl"):
        rows = [json.loads(line) for line in raw.splitlines()]
    else:
        text = (gzip.decompress(raw) if name.endswith(".gz") else raw).decode()
        rows = list(csv.DictReader(io.StringIO(text, newline=""), delimiter="\t" if name.endswith(".tsv") else ","))
    assert [row["reused_from"] or None for row in rows] == [None, "id-paid"]


@pytest.mark.parametrize("name", ["a.jsonl", "a.jsonl.gz", "a.txt", "a"])
def test_lines_of_json_hold_all_of_a_job(tmp_path: Path, name: str) -> None:
    jobs = [job("a"), job("b", None)]
    write(jobs, name)
    raw = (tmp_path / name).read_bytes()
    text = gzip.decompress(raw) if name.endswith(".gz") else raw
    assert [Job.model_validate_json(line) for line in text.splitlines()] == jobs


def test_parquet_has_types_and_is_written_in_groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(parquet_results.ParquetWriter.__init__, "__defaults__", (10,))
    write([job(f"t{n}") for n in range(24)] + [job("bad", None)], "a.parquet")
    file = pq.ParquetFile(tmp_path / "a.parquet")
    assert file.num_row_groups == 3
    assert file.schema_arrow.names == HEADER
    rows = file.read().to_pylist()
    assert [row["custom_id"] for row in rows] == [*(f"t{n}" for n in range(24)), "bad"]
    assert (rows[0]["action_items"], rows[0]["input_tokens"]) == (SUMMARY["action_items"], 7)
    assert (rows[-1]["title"], rows[-1]["error_type"]) == (None, "ProviderServerError")
    write([], "empty.parquet")
    assert pq.read_table(tmp_path / "empty.parquet").column_names == HEADER


def test_parquet_of_a_result_that_its_kind_would_no_longer_give(tmp_path: Path) -> None:
    with pytest.raises(OutputError, match="does not fit its kind's output"):
        write([job("a", {**SUMMARY, "title": 5})], "a.parquet")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("kind", sorted(KINDS))
@pytest.mark.parametrize("form", ["csv", "parquet", "jsonl"])
def test_every_kind_can_be_written(tmp_path: Path, kind: str, form: str) -> None:
    failed = job("a", None)
    with open_results(f"a.{form}", kind) as results:
        results.write([failed])
    assert (tmp_path / f"a.{form}").stat().st_size > 0


def test_a_field_that_is_named_like_a_column_keeps_both(monkeypatch: pytest.MonkeyPatch) -> None:
    from pydantic import BaseModel

    from jobs.kind import Kind

    class Output(BaseModel):
        state: str
        nested: dict[str, int]

    monkeypatch.setitem(KINDS, "odd", Kind("odd", Output, Output, None))
    cells = cells_of(job("a", {"state": "of mind", "nested": {"x": 1}}), columns_of("odd"))
    assert (cells["state"], cells["result_state"]) == ("succeeded", "of mind")
    with open_results("odd.parquet", "odd") as results:
        results.write([job("a", {"state": "of mind", "nested": {"x": 1}})])
    assert pq.read_table("odd.parquet")["nested"].to_pylist() == ['{"x":1}']


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("=cmd|' /C calc'!A0", "'=cmd|' /C calc'!A0"), ("+1+1", "'+1+1"), ("-1+1", "'-1+1"), ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"), ("\r=1", "'\r=1"), ("\n=1", "'\n=1"), ("- one point", "'- one point"),
        ("-5", "-5"), ("+49", "+49"), ("-5.2", "-5.2"), ("-5,2", "-5,2"), ("a=1", "a=1"), ("", ""), ("'x", "'x"),
        (-5, -5), (2.5, 2.5), (None, None), (True, "true"), (["=1"], '["=1"]'), ({"a": 1}, '{"a": 1}'),
    ],
)  # fmt: skip
def test_no_text_is_a_formula_to_a_spreadsheet(value: object, cell: object) -> None:
    assert cell_of(value) == cell


@pytest.mark.parametrize(
    ("name", "form", "words"),
    [
        ("a.xlsx", None, "workbooks"), ("a.jsonl", "xml", "one of jsonl, csv, tsv, parquet"),
        ("a.parquet.gz", None, "compressed already"),
    ],
)  # fmt: skip
def test_what_cannot_be_written_is_refused(name: str, form: str | None, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        output_format(name, form)


def test_a_format_may_be_given() -> None:
    assert output_format("a.jsonl", "csv").name == "csv"
    assert (output_format("-").name, output_format("-", "parquet").name) == ("jsonl", "parquet")
    assert output_format("A.CSV.GZ").zipped


def test_parquet_without_its_extra_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delitem(sys.modules, "producer.parquet_results")
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(UsageError, match=r"pip install 'ticketflow\[parquet\]'"):
        write([job("a")], "a.parquet")
    assert list(tmp_path.iterdir()) == []
    write([job("a")], "a.csv")


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.csv.gz", "a.parquet"])
def test_a_disk_that_is_full_leaves_the_old_file_and_nothing_else(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("before")
    noise = [job(os.urandom(50).hex()) for _ in range(3000)]
    with full_disk(50_000), pytest.raises(OutputError, match=f"{name} cannot be written: File too large"):
        write(noise, name)
    assert list(tmp_path.iterdir()) == [tmp_path / name]
    assert (tmp_path / name).read_text() == "before"


@pytest.mark.parametrize("name", ["missing/a.jsonl", "a.jsonl/b.csv", "."])
def test_a_place_that_cannot_be_written_is_said_before_anything_is_done(tmp_path: Path, name: str) -> None:
    (tmp_path / "a.jsonl").write_text("before")
    with pytest.raises(OutputError, match="cannot be written"), open_results(name, KIND):
        pytest.fail("it was opened")
    with pytest.raises(OutputError, match="cannot be written"):
        write_text("x", name)


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.csv.gz", "a.parquet"])
def test_what_was_written_before_a_fault_stays_as_a_part_that_can_be_read(tmp_path: Path, name: str) -> None:
    (tmp_path / name).write_text("before")

    def broken() -> Iterator[Job]:
        yield job("a")
        raise ServiceUnavailableError("Postgres", "there")

    with pytest.raises(ServiceUnavailableError), open_results(name, KIND) as results:
        results.write(broken())
    assert (tmp_path / name).read_text() == "before"
    part = tmp_path / f"{name}.part"
    if name.endswith(".parquet"):
        assert pq.read_table(part)["custom_id"].to_pylist() == ["a"]
    else:
        raw = part.read_bytes()
        assert b"id-a" in (gzip.decompress(raw) if name.endswith(".gz") else raw)
    write([job("b")], name)
    assert list(tmp_path.iterdir()) == [tmp_path / name], "the next one takes its place"


def test_a_fault_before_the_first_job_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(KeyboardInterrupt), open_results("a.csv", KIND):
        raise KeyboardInterrupt
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["a.jsonl", "a.csv", "a.jsonl.gz"])
def test_the_part_grows_while_jobs_are_written(tmp_path: Path, name: str) -> None:
    with open_results(name, KIND) as results:
        results.write([job("a")])
        results.flush()
        seen = (tmp_path / f"{name}.part").read_bytes()
        assert b"id-a" in (zlib.decompressobj(31).decompress(seen) if name.endswith(".gz") else seen)
        assert not (tmp_path / name).exists()


def test_two_do_not_write_the_same_file(tmp_path: Path) -> None:
    code = "import sys; from producer.results import write_text; write_text('other', 'a.jsonl')"
    other = [sys.executable, "-c", code]
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    with open_results("a.jsonl", KIND) as results:
        results.write([job("a")])
        refused = subprocess.run(other, env=environment, capture_output=True, text=True, check=False)
        assert "is being written by another process" in refused.stderr
    assert "id-a" in (tmp_path / "a.jsonl").read_text()
    subprocess.run(other, env=environment, check=True)
    assert (tmp_path / "a.jsonl").read_text() == "other"


def test_links_pipes_and_devices_stay_what_they_are(tmp_path: Path) -> None:
    (tmp_path / "real.jsonl").write_text("before")
    (tmp_path / "link.jsonl").symlink_to("real.jsonl")
    write([job("a")], "link.jsonl")
    assert (tmp_path / "link.jsonl").is_symlink()
    assert "id-a" in (tmp_path / "real.jsonl").read_text()
    write([job("a")], "/dev/null")
    assert not Path("/dev/null").is_file()
    with pytest.raises(OutputError, match="/dev/full cannot be written: No space left on device"):
        write([job("a")], "/dev/full")
