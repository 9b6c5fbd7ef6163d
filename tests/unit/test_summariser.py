"""Extractive summaries: sentences come from the ticket, noise does not; judgements follow what the customer says."""

import re
import time
from typing import Any

import pytest

from embedded.judgement import MAX_ACTIONS
from embedded.lexicon import language_of
from embedded.summariser import NOTHING, TITLE_CHARS, Summary, summarise
from embedded.tickets import sample_tickets
from jobs.kinds.summarise_ticket import Ticket, TicketSummary, render

TICKETS = list(sample_tickets())
TEXTS = {ticket["id"]: render(Ticket.model_validate(ticket)) for ticket in TICKETS}
LONGEST = max(TEXTS.values(), key=len)


def _flat(text: str) -> str:
    """A text without spaces and list marks, as hard-wrapped lines and lists are joined."""
    return re.sub(r"\s|[-*•]", "", text)


def _pieces(summary: str, text: str) -> int:
    """How many pieces of the text the summary is made of; one that is not in it shows as very many."""
    pieces, start = 0, 0
    while start < len(summary):
        end = len(summary)
        while end > start + 1 and summary[start:end] not in text:
            end -= 1
        pieces, start = pieces + 1, end
    return pieces


def _summary_of(text: str) -> Summary:
    made = summarise(text)
    assert made == summarise(text)
    return made


@pytest.mark.parametrize("ticket", TICKETS, ids=lambda ticket: str(ticket["id"]))
def test_every_sample_ticket(ticket: dict[str, Any]) -> None:
    text = TEXTS[ticket["id"]]
    made = _summary_of(text)
    TicketSummary.model_validate(vars(made), strict=False)
    assert 0 < len(made.title) <= TITLE_CHARS
    assert len(made.action_items) <= MAX_ACTIONS
    assert 1 <= _pieces(_flat(made.summary), _flat(text)) <= 3
    for sentence in made.action_items:
        assert _flat(sentence) in _flat(text), sentence
    assert not re.search(r"\b(?:ERROR|INFO)\b.*\[|Exception: |\tat |^\[\d{4}-", made.summary)


@pytest.mark.parametrize("ticket", TICKETS, ids=lambda ticket: str(ticket["id"]))
def test_language(ticket: dict[str, Any]) -> None:
    if len(TEXTS[ticket["id"]]) > 80:  # a few words tell no language
        assert language_of(TEXTS[ticket["id"]]) == ticket["language"]


NOISY = """Ticket 1
Subject: Re: Fwd: Import fails

Good morning,

The nightly import stops after 20,000 rows since
Tuesday and our price list is out of date.

2026-02-11T08:02:44.902Z ERROR importer - unexpected failure
java.lang.IndexOutOfBoundsException: Index 20000 out of bounds
\tat net.example.RowBuffer.next(RowBuffer.java:212)
Traceback (most recent call last):
  File "/srv/app.py", line 88, in receive
```
select everything from anywhere, this is code.
```
> You wrote this earlier, it is a quotation and no news.

Kind regards,
Jane Doe
Purchasing department of Example Ltd.

Comments:
[2026-02-11T09:00:00Z, Ravi (agent)]
Thank you for the report. The fix will be released tomorrow at nine.
"""


def test_noise_is_left_out_and_wrapped_lines_are_joined() -> None:
    made = _summary_of(NOISY)
    assert made.title == "Import fails"
    assert made.summary == (
        "The nightly import stops after 20,000 rows since Tuesday and our price list is out of date."
    )
    assert made.action_items == ("The fix will be released tomorrow at nine.",)
    assert made.priority == "high"


@pytest.mark.parametrize(
    ("text", "sentiment", "priority"),
    [
        ("Everything down! Nobody can work, this is urgent.", "negative", "urgent"),
        ("Dark mode would be lovely. Not urgent, no rush.", "positive", "low"),
        ("Where do I find the report of last month?", "neutral", "normal"),
        ("WHERE IS MY ORDER??", "negative", "normal"),
        ("Die Produktion steht still, bitte dringend um Hilfe!", "negative", "urgent"),
        ("Panne totale, aucun agent ne peut ouvrir de dossier, c'est très urgent.", "negative", "urgent"),
        ("Sistema caído, tenemos 40 operadores parados y es urgente.", "negative", "urgent"),
        ("システムが全く使えないため至急対応をお願いします。大変困っています。", "negative", "urgent"),
        ("النظام متوقف ولا يستطيع أي موظف العمل. الأمر عاجل جدا!", "negative", "urgent"),
        ("J'adore votre outil, merci ! Ce serait bien d'avoir des modèles.", "positive", "low"),
        ("和暦に対応してほしいです。急ぎではありません。", "neutral", "low"),
    ],
)
def test_mood_and_urgency(text: str, sentiment: str, priority: str) -> None:
    made = _summary_of(text)
    assert (made.sentiment, made.priority) == (sentiment, priority)


def test_what_the_customer_calls_settled_is_neither_urgent_nor_negative() -> None:
    thread = "Subject: Urgent\n\nNobody can log in, this is urgent!\n\nComments:\n[Ann (agent)]\nPlease try again.\n"
    assert _summary_of(thread).priority == "urgent"
    settled = _summary_of(thread + "\n[Joe]\nIt works again, thank you!\n")
    assert (settled.priority, settled.sentiment, settled.action_items) == ("normal", "positive", ())


@pytest.mark.parametrize(
    "text", ["", "   \n\n", "\x00", "\ud800", "...", "---\n---", "[", "Subject:", "Comments:\n[x]\n"]
)
def test_texts_without_words(text: str) -> None:
    made = _summary_of(text)
    assert made.title
    assert made.summary
    assert made.action_items == ()
    if not text.strip():
        assert made.summary == NOTHING


@pytest.mark.parametrize(
    ("text", "summary"),
    [
        ("help", "help"),
        ("Subject: help\n\nhelp", "help"),
        ("Why is the sky blue?", "Why is the sky blue?"),
        ("2026-01-01T00:00:00Z ERROR broken pipe", "2026-01-01T00:00:00Z ERROR broken pipe"),
    ],
)
def test_short_and_other_texts(text: str, summary: str) -> None:
    assert _summary_of(text).summary == summary


def test_nothing_is_said_twice() -> None:
    assert _summary_of("The pump fails again. " * 50).summary == "The pump fails again."


def test_japanese_sentences_are_joined_without_spaces() -> None:
    made = _summary_of("商品が届きません。注文番号は42です。週末に使う予定です。120名が待っています。")
    assert re.fullmatch(r"[^\s]+。[^\s]+。", made.summary)


def test_a_long_title_is_cut_at_a_word() -> None:
    title = _summary_of("Subject: " + "word " * 40 + "\n\nThe printer is broken.").title
    assert len(title) <= TITLE_CHARS
    assert title.endswith("word…")


@pytest.mark.parametrize(
    "text",
    [
        LONGEST,
        "a " * 50_000,
        "." * 100_000,
        "A. " * 30_000,
        "。" * 100_000,
        "「" * 50_000,
        "(" * 100_000,
        "\n" * 100_000,
        "please help me! " * 6_000,
        "at x(" * 20_000,
        "a-" * 50_000,
        "a.b" * 30_000,
        "| " * 50_000,
        "   x" * 30_000,
        "[\n" * 50_000,
    ],
    ids=lambda text: repr(text[:12]),
)
def test_time_grows_with_length_only(text: str) -> None:
    started = time.perf_counter()
    summarise(text)
    assert time.perf_counter() - started < 2.0  # a fraction of that in truth; this is about quadratic behaviour
