"""Judges a ticket by word lists: the customer's mood, how soon somebody should act, and what is left to do."""

import re
from collections.abc import Sequence
from typing import Literal

from embedded.lexicon import Lexicon
from embedded.sentences import Sentence
from embedded.ticket_text import TicketText

Sentiment = Literal["negative", "neutral", "positive"]
Priority = Literal["low", "normal", "high", "urgent"]

MAX_ACTIONS = 3
_RECENT_PASSAGES = 3
_ACTION_CHARS = 240
_SHOUTED = re.compile(r"\b[A-ZÀ-Þ]{4,}\b(?:\W+\b[A-ZÀ-Þ]{2,}\b)+|[!?]{2,}")


def sentiment(ticket: TicketText, words: Lexicon) -> Sentiment:
    """The customer's mood: of the latest message, or where that shows none, of all of them."""
    messages = [" ".join(p.paragraphs) for p in ticket.passages if not p.by_agent] or [""]
    balance = _balance(messages[-1], words) or _balance(" ".join((ticket.subject, *messages)), words)
    return "positive" if balance > 0 else "negative" if balance < 0 else "neutral"


def priority(ticket: TicketText, words: Lexicon) -> Priority:
    """How soon somebody should act; what the customer calls settled is never above normal."""
    first = " ".join(ticket.passages[0].paragraphs) if ticket.passages else ""
    text, low = words.low.subn(" ", f"{ticket.subject}\n{first}".lower())  # "not urgent" must not count as "urgent"
    urgent, high = (len(set(pattern.findall(text))) for pattern in (words.urgent, words.high))
    if is_solved(ticket, words):
        return "normal" if urgent or high else "low"
    if urgent > 1 or (urgent and high):
        return "urgent"
    if urgent or high > low:
        return "high"
    return "low" if low > high else "normal"


def is_solved(ticket: TicketText, words: Lexicon) -> bool:
    """Whether the customer's latest message, after the first, says that the matter is settled."""
    answers = [passage for passage in ticket.passages[1:] if not passage.by_agent]
    return bool(answers) and bool(words.solved.search(" ".join(answers[-1].paragraphs).lower()))


def action_items(found: Sequence[Sentence], ticket: TicketText, words: Lexicon) -> list[str]:
    """The latest sentences in which something is asked for or promised; once settled, only the last message's."""
    passages = 1 if is_solved(ticket, words) else _RECENT_PASSAGES
    recent = [s for s in found if s.passage >= len(ticket.passages) - passages and len(s.text) <= _ACTION_CHARS]
    asked = [s.text for s in recent if not s.polite and words.action.search(s.text.lower())]
    return list(dict.fromkeys(asked))[-MAX_ACTIONS:]


def _balance(text: str, words: Lexicon) -> int:
    small = text.lower()
    good, bad = len(words.positive.findall(small)), len(words.negative.findall(small))
    return good - bad - (not good and bool(_SHOUTED.search(text)))
