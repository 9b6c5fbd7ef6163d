"""Sentences of a ticket and the words that they are compared by; sentencex (Wikimedia) finds where sentences end."""

import re
from collections.abc import Iterator
from dataclasses import dataclass

import sentencex  # type: ignore[import-untyped]

from embedded.lexicon import Lexicon
from embedded.ticket_text import TicketText

MIN_CHARS, MAX_CHARS = 8, 400
_MIN_CHARS_UNSPACED = 5
_STEM_CHARS = 6
_GREETING_CHARS = 40
_WORD = re.compile(
    r"[\u30a1-\u30fa\u30fc]{2,}"  # a run of katakana: a loan word
    r"|[\u3400-\u9fff々]{1,4}"  # kanji carry the meaning; hiragana, mostly grammar, are no words here
    r"|[^\W_\u3040-\u30ff\u3400-\u9fff]{2,}"
)
_JAPANESE_END = re.compile(r"(?<=[。！？!?])(?![」』）)！？!?])")
_ARTICLE = re.compile(r"^[وفبلك]?ال(?=..)")


@dataclass(frozen=True)
class Sentence:
    """One sentence, word for word as it stands in the ticket.

    Args:
        passage: the number of its message, 0 for the first.
        place: its number within that message, from 0.
        words: stems of its words without stop words.
        polite: whether it is courtesy rather than news.
    """

    text: str
    passage: int
    place: int
    words: frozenset[str]
    polite: bool


def sentences(ticket: TicketText, lexicon: Lexicon) -> list[Sentence]:
    """All sentences that could stand in a summary, in order."""
    found = []
    shortest = _MIN_CHARS_UNSPACED if lexicon.language == "ja" else MIN_CHARS
    for number, passage in enumerate(ticket.passages):
        place = 0
        for text in _split(passage.paragraphs, lexicon.language):
            if not shortest <= len(text) <= MAX_CHARS:
                continue
            small = text.lower()
            found.append(Sentence(text, number, place, stems(small, lexicon), _is_polite(small, lexicon)))
            place += 1
    return found


def _is_polite(small: str, lexicon: Lexicon) -> bool:
    """Whether a sentence is courtesy rather than news; "Hi Ann, the server is down and nobody can work" is news."""
    greets = len(small) <= _GREETING_CHARS and lexicon.greeting.match(small)
    return bool(greets or lexicon.polite.search(small))


def stems(small: str, lexicon: Lexicon) -> frozenset[str]:
    """Stems of the words of a text in small letters: Arabic articles off, then the first six letters.

    Cutting is crude, but joins "refund" and "refunded" alike in all six languages without rules for any of them.
    """
    words = (word for word in _WORD.findall(small) if word not in lexicon.stop_words)
    if lexicon.language == "ar":
        words = (_ARTICLE.sub("", word) for word in words)
    return frozenset(word[:_STEM_CHARS] for word in words)


def _split(paragraphs: tuple[str, ...], language: str) -> Iterator[str]:
    for paragraph in paragraphs:
        # sentencex wants a space after 。 before digits and Latin letters, and ends sentences within 「」
        parts = _JAPANESE_END.split(paragraph) if language == "ja" else sentencex.segment(language, paragraph)
        for text in parts:
            if stripped := text.strip():
                yield stripped
