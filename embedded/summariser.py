"""A summary made of a ticket's own sentences: offline, without a model, the same for the same text."""

import re
from dataclasses import dataclass

from embedded.judgement import Priority, Sentiment, action_items, priority, sentiment
from embedded.lexicon import language_of, lexicon
from embedded.ranking import pick
from embedded.sentences import sentences, stems
from embedded.ticket_text import TicketText, take_apart

TITLE_CHARS = 80
NOTHING = "(no text)"
_SHORTENED_CHARS = 300
_REPLY_MARK = re.compile(r"^(?:\s*(?:re|aw|fwd?|wg|tr|rv)\s*:)+\s*", re.IGNORECASE)
_SPACE = re.compile(r"\s+")


@dataclass(frozen=True)
class Summary:
    """What an agent wants to know of a ticket; ``summary`` and ``action_items`` are sentences from its text."""

    title: str
    summary: str
    sentiment: Sentiment
    priority: Priority
    action_items: tuple[str, ...]


def summarise(text: str) -> Summary:
    """Summarises a ticket as ``jobs.kinds.summarise_ticket`` renders it, or any other text; 1 to 3 sentences."""
    text = text.encode(errors="replace").decode()  # lone surrogates, which JSON can carry, are no text
    words = lexicon(language_of(text))
    ticket = take_apart(text, words)
    found = sentences(ticket, words)
    chosen = pick(found, stems(ticket.subject.lower(), words), _limit(len(found)))
    summary = ("" if words.language == "ja" else " ").join(s.text for s in chosen) or _fallback(ticket, text)
    return Summary(
        _title(ticket, chosen[0].text if chosen else summary),
        summary,
        sentiment(ticket, words),
        priority(ticket, words),
        tuple(action_items(found, ticket, words)),
    )


def _limit(number: int) -> int:
    """How many sentences a summary of ``number`` sentences has."""
    return 1 if number <= 3 else 2 if number <= 8 else 3


def _fallback(ticket: TicketText, text: str) -> str:
    """For a text without a sentence: what prose there is, else the subject, else how the text begins."""
    prose = [paragraph for passage in ticket.passages for paragraph in passage.paragraphs]
    whole = " ".join(prose) or ticket.subject or _SPACE.sub(" ", text).strip()
    return _shorten(whole, _SHORTENED_CHARS) or NOTHING


def _title(ticket: TicketText, otherwise: str) -> str:
    return _shorten(_REPLY_MARK.sub("", ticket.subject) or otherwise, TITLE_CHARS)


def _shorten(text: str, limit: int) -> str:
    """Cuts at the last space, if there is one in the second half, and says so by an ellipsis."""
    if len(text) <= limit:
        return text
    cut = text[: limit - 1]
    space = cut.rfind(" ")
    return (cut[:space] if space > limit // 2 else cut).rstrip(" ,;:—-") + "…"
