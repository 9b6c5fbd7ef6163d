"""Word lists of six languages, compiled into patterns; the lists themselves are data in ``word_lists.toml``."""

import re
import tomllib
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cache

from stopwordsiso import stopwords

from config.resources import text_of

# Words are not set apart by spaces (Japanese) or carry prefixes for "and", "the", "to" (Arabic): match anywhere.
_UNSPACED = frozenset({"ja", "ar"})
_KANA = re.compile(r"[\u3040-\u30ff]")
_ARABIC = re.compile(r"[\u0600-\u06ff]")
_LATIN_WORD = re.compile(r"[^\W\d_]+")
_SEEN_CHARS = 4000
_FOREIGN_SHARE = 0.15
"""A text whose first part has this share of kana, or of Arabic letters, is Japanese, or Arabic: logs are Latin."""


@dataclass(frozen=True)
class Lexicon:
    """One language's patterns, all for text in small letters; the head of ``word_lists.toml`` says what each means."""

    language: str
    stop_words: frozenset[str]
    greeting: re.Pattern[str]
    closing: re.Pattern[str]
    polite: re.Pattern[str]
    negative: re.Pattern[str]
    positive: re.Pattern[str]
    solved: re.Pattern[str]
    urgent: re.Pattern[str]
    high: re.Pattern[str]
    low: re.Pattern[str]
    action: re.Pattern[str]


@cache
def lexicon(language: str) -> Lexicon:
    """The patterns of ``language``, an ISO 639-1 code of one that ``word_lists.toml`` has."""
    lists = _word_lists()[language]
    patterns = {name: _pattern(language, lists[name]) for name in ("polite", "negative", "positive", "solved")}
    patterns |= {name: _pattern(language, lists[name]) for name in ("urgent", "high", "low")}
    return Lexicon(
        language,
        frozenset(stopwords(language)),
        greeting=_pattern(language, lists["greetings"]),
        closing=_pattern(language, lists["closings"]),
        action=_pattern(language, lists["actions"]),
        **patterns,
    )


def language_of(text: str) -> str:
    """The language of a text by its script and its small words; English where nothing tells."""
    start = text[:_SEEN_CHARS]
    letters = sum(map(str.isalpha, start)) or 1
    if len(_KANA.findall(start)) / letters > _FOREIGN_SHARE:
        return "ja"
    if len(_ARABIC.findall(start)) / letters > _FOREIGN_SHARE:
        return "ar"
    words = _LATIN_WORD.findall(start.lower())
    counts = {name: sum(map(markers.__contains__, words)) for name, markers in _markers().items()}
    best = max(counts, key=counts.__getitem__)
    return best if counts[best] > counts["en"] else "en"


@cache
def _word_lists() -> dict[str, dict[str, list[str]]]:
    return tomllib.loads(text_of("embedded", "word_lists.toml"))


@cache
def _markers() -> dict[str, frozenset[str]]:
    return {name: frozenset(lists["markers"]) for name, lists in _word_lists().items()}


def _pattern(language: str, terms: Iterable[str]) -> re.Pattern[str]:
    ordered = sorted(terms, key=len, reverse=True)  # the longest first: an alternation takes the first that fits
    choices = "|".join(re.escape(term).replace(r"\*", r"\w*") for term in ordered)
    return re.compile(choices if language in _UNSPACED else rf"(?<!\w)(?:{choices})(?!\w)")
