"""Picks the sentences of a summary: word weight and place decide what counts, likeness keeps out repetition."""

import math
from collections import Counter
from collections.abc import Sequence

from embedded.sentences import Sentence

_SUBJECT_WEIGHT = 1.5
_POLITE, _QUESTION, _SHORT, _UNENDED = 0.25, 0.8, 0.6, 0.6
_SHORT_WORDS = 3
_NOVELTY = 0.4
"""Share of novelty against relevance in maximal marginal relevance (Carbonell and Goldstein 1998)."""


def pick(found: Sequence[Sentence], subject: frozenset[str], limit: int) -> list[Sentence]:
    """At most ``limit`` sentences in the ticket's order: one of the first message, then the most telling others."""
    scores = _scores(found, subject)
    opening = max((s for s in found if s.passage == found[0].passage), key=lambda s: scores[id(s)], default=None)
    chosen = [opening] if opening else []
    likeness = {id(s): _likeness(s, opening) for s in found if opening}
    said = {s.text for s in chosen}
    while len(chosen) < limit and (rest := [s for s in found if s.text not in said]):
        best = max(rest, key=lambda s: (1 - _NOVELTY) * scores[id(s)] - _NOVELTY * likeness[id(s)])
        chosen.append(best)
        said.add(best.text)
        likeness = {id(s): max(likeness[id(s)], _likeness(s, best)) for s in found}
    return sorted(chosen, key=lambda s: (s.passage, s.place))


def _scores(found: Sequence[Sentence], subject: frozenset[str]) -> dict[int, float]:
    """Relevance of each sentence, 1 for the best, by its identity."""
    frequency = Counter(word for sentence in found for word in sentence.words)
    weight = {word: math.sqrt(n) * (_SUBJECT_WEIGHT if word in subject else 1) for word, n in frequency.items()}
    last = max((sentence.passage for sentence in found), default=0)
    raw = {}
    for sentence in found:
        mass = sum(weight[word] for word in sentence.words) / math.sqrt(len(sentence.words) or 1)
        raw[id(sentence)] = mass * _place_factor(sentence, last) * _form_factor(sentence)
    best = max(raw.values(), default=0) or 1
    return {key: score / best for key, score in raw.items()}


def _place_factor(sentence: Sentence, last: int) -> float:
    """The first message says what happened and the last ones how it stands; the middle counts less."""
    if sentence.passage == 0:
        return max(0.6, 1 - 0.08 * sentence.place)
    return 0.9 if sentence.passage >= last - 1 else 0.65


def _form_factor(sentence: Sentence) -> float:
    factor = _POLITE if sentence.polite else 1.0
    if sentence.text.endswith(("?", "？", "؟")):
        factor *= _QUESTION
    if sentence.text[-1].isalnum() or sentence.text[-1] == ":":  # a fragment, or what introduces a log
        factor *= _UNENDED
    return factor * (_SHORT if len(sentence.words) < _SHORT_WORDS else 1)


def _likeness(one: Sentence, other: Sentence) -> float:
    """Jaccard's coefficient of their words."""
    union = len(one.words | other.words)
    return len(one.words & other.words) / union if union else 0.0
