"""Reads a ticket, or any other text, as messages of prose, without headers, logs, stack traces and signatures."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from embedded.lexicon import Lexicon

_ID_LINE = re.compile(r"(?:Ticket|Issue|Case)\s+#?\S{1,40}\s*", re.IGNORECASE)
_SUBJECT_LINE = re.compile(r"(?:Subject|Betreff|Objet|Asunto|件名|الموضوع)\s*[:：]\s*(.*)", re.IGNORECASE)
_COMMENTS_LINE = re.compile(r"(?:Comments|Kommentare|Commentaires|Comentarios)\s*:\s*", re.IGNORECASE)
_COMMENT_HEAD = re.compile(r"\[(?:comment|\d{4}-\d\d-\d\d[^\]]{0,150}|[^\]]{1,80})\]\s*")
_FENCE = re.compile(r"\s*(?:```|~~~)")
_BULLET = re.compile(r"\s{0,3}(?:[-*•]|\d{1,2}[.)])\s+")
_SEPARATOR = re.compile(r"\W{2,}")
_ENDED = re.compile(r"[.!?:;…。！？؟۔]['\"”»」)\]]*$")
_LOG = re.compile(
    r"""\s* (?:
      \[?\d{4}-\d\d-\d\d[T\ ]\d\d:\d\d            # 2026-03-02 09:14
    | \[?\d\d:\d\d:\d\d[.,\s\]]                   # 09:14:07
    | time="\d                                    # logfmt
    | [VDIWEF]/[\w.]+\s*\(                        # Android
    | at\s+\S+\(.*\) | \.\.\.\ \d+\ (?:common|more)
    | File\ ".*",\ line\ \d | Traceback\ \(most | Caused\ by: | goroutine\ \d | panic:
    | (?:[\w$]+\.)+\w*(?:Exception|Error|Mismatch)\b
    | (?:GET|POST|PUT|PATCH|DELETE|HEAD)\s+/ | HTTP/\d
    | [a-z][a-z0-9]*(?:-[a-z0-9]+)*:\s\S*[=/;\d]  # content-type: text/plain
    | \d{1,3}(?:\.\d{1,3}){3}\s | \d{3}\s[{\[]    # access log; a status with its body
    | [$#>]\s | <[/\w] | [{}\[\]|] | -rw | /dev/ | (?:INFO|DETAIL|CPU):\s
    | \d+\s+[A-Z]{3,}\b | -----
    | SELECT\s
    )""",
    re.VERBOSE,
)
_INDENTED = re.compile(r"(?:\t| {4,})\S")
_SYMBOL = re.compile(r"[^\w\s.,;:!?'’\"()…，、。！？「」؟،-]|[\d_]")
_TABLE = re.compile(r"\S(?:\s{3,}|\s+\|\s+)\S.*\S(?:\s{3,}|\s+\|\s+)\S")
_SYMBOL_SHARE = 0.3
_SIGNATURE_LINES = 5
_WRAPPED_CHARS = 60
_NAME_CHARS = 40


@dataclass(frozen=True)
class Passage:
    """One message of the thread: who wrote it, and its prose in paragraphs without line breaks."""

    by_agent: bool
    paragraphs: tuple[str, ...]


@dataclass(frozen=True)
class TicketText:
    """A ticket taken apart; a text that is no ticket is one passage without a subject."""

    subject: str
    passages: tuple[Passage, ...]


@dataclass
class _Draft:
    by_agent: bool
    lines: list[str] = field(default_factory=list)


def take_apart(text: str, words: Lexicon) -> TicketText:
    """Takes a text apart as ``jobs.kinds.summarise_ticket.render`` writes it; every part of that form is optional."""
    lines = text.splitlines()
    subject, first = _header(lines)
    drafts = [_Draft(False)]
    in_comments = False
    for line in lines[first:]:
        if _COMMENTS_LINE.fullmatch(line):
            in_comments = True
        elif in_comments and _COMMENT_HEAD.fullmatch(line):
            drafts.append(_Draft("agent" in line.lower()))
        else:
            drafts[-1].lines.append(line)
    passages = (Passage(draft.by_agent, tuple(_paragraphs(draft.lines, words))) for draft in drafts)
    return TicketText(subject, tuple(passage for passage in passages if passage.paragraphs))


def _header(lines: list[str]) -> tuple[str, int]:
    """The subject, and the number of the first line after the header."""
    for number, line in enumerate(lines[:5]):
        if found := _SUBJECT_LINE.fullmatch(line.strip()):
            return found[1].strip(), number + 1
        if line.strip() and not _ID_LINE.fullmatch(line):
            break
    return "", 0


def _paragraphs(lines: list[str], words: Lexicon) -> Iterator[str]:
    """Joins hard-wrapped lines; a blank line, a bullet or a line that is no prose ends a paragraph."""
    open_lines: list[str] = []
    for line in (*_prose(lines, words), ""):
        bullet = _BULLET.match(line)
        if open_lines and (not line or bullet or not _goes_on(open_lines[-1], line)):
            yield " ".join(open_lines)
            open_lines = []
        if line:
            open_lines.append(line[bullet.end() :] if bullet else line)


def _goes_on(before: str, line: str) -> bool:
    return not _ENDED.search(before) and (line[0].islower() or len(before) >= _WRAPPED_CHARS)


def _prose(lines: list[str], words: Lexicon) -> Iterator[str]:
    """The lines with prose, stripped; an empty one stands for each that is left out."""
    fenced, unsigned = False, 0
    last = max((number for number, line in enumerate(lines) if line.strip()), default=0)
    for number, raw in enumerate(lines):
        line = raw.strip()
        if _FENCE.match(raw):
            fenced = not fenced
        if line and not unsigned and _closes(line, words):
            unsigned = _SIGNATURE_LINES + 1
        unsigned -= bool(unsigned and line)
        name = number == last > 0 and _is_name(line)
        left_out = fenced or unsigned or name or _is_noise(raw) or _greets(line, words)
        yield "" if left_out else line


def _is_noise(raw: str) -> bool:
    """Whether a line comes from a machine, or is quoted, a table or an ornament."""
    line = raw.strip()
    if not line or _LOG.match(line) or _INDENTED.match(raw) or _SEPARATOR.fullmatch(line) or _TABLE.search(line):
        return True
    return len(line) > 20 and len(_SYMBOL.findall(line)) / len(line) > _SYMBOL_SHARE


def _closes(line: str, words: Lexicon) -> bool:
    """Whether a signature begins here: ``--``, or a closing formula with at most a comma after it."""
    if line in ("--", "—"):
        return True
    found = words.closing.match(line.lower()) if len(line) <= _NAME_CHARS else None
    return bool(found and len(line) - found.end() <= 25 and not _ENDED.search(line))


def _greets(line: str, words: Lexicon) -> bool:
    """Whether a line greets and says nothing else: short, and no sentence after the greeting."""
    if len(line) > _NAME_CHARS or not words.greeting.match(line.lower()):
        return False
    return line.endswith((",", ":", "،", "、")) or (words.language in ("ja", "ar")) or len(line.split()) <= 3


def _is_name(line: str) -> bool:
    """Whether the last line is only a name: a few words with capitals, without the end of a sentence."""
    parts = line.split()
    named = len(parts) <= 3 and all(part[0].isupper() for part in parts) and not _ENDED.search(line[:-1])
    return bool(parts) and named and line[-1] not in "!?" and any(map(str.islower, line))
