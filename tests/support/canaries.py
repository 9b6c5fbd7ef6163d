"""Canaries: secrets that exist nowhere else, and the search for them in whatever a run leaves behind."""

import base64
import mmap
import secrets
from collections.abc import Iterable, Iterator
from pathlib import Path


class Canary:
    """A family of words that one search finds, since each holds the same random tag.

    The tag is of small letters and digits: it looks the same in JSON, URLs, SQL and ids. Base64 (at any offset), hex
    and UTF-16 are searched for as well.

    Args:
        tag: another secret to search for, such as a password.
    """

    def __init__(self, tag: str = "") -> None:
        self.tag = tag or f"canary{secrets.token_hex(10)}"
        tag_bytes = self.tag.encode()
        self.shapes = {
            "as it is": tag_bytes,
            "UTF-16": self.tag.encode("utf-16-le"),
            "hex": tag_bytes.hex().encode(),
            **{f"base64 at {offset}": _base64(tag_bytes, offset) for offset in range(3)},
        }

    def key(self) -> str:
        """A key of the family with a random end of its own, and with the signs that URLs quote."""
        return f"sk-{self.tag}-{secrets.token_hex(12)}+/="

    def found(self, files: Iterable[Path]) -> list[str]:
        """Where the tag stands: file, and in which shape."""
        return [f"{file} ({shape})" for file in files for shape in _shapes_in(file, self.shapes)]


def files_in(folder: Path) -> list[Path]:
    """Every file of a folder; there is at least one, or the search would prove nothing."""
    found = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    assert found, f"nothing in {folder}"
    return found


def _base64(tag: bytes, offset: int) -> bytes:
    """Those signs that are the same whatever stands around the tag, if it begins at ``offset`` of a group of three."""
    encoded = base64.b64encode(bytes(offset) + tag)
    return encoded[-(-offset * 8 // 6) : (offset + len(tag)) * 8 // 6]


def _shapes_in(file: Path, shapes: dict[str, bytes]) -> Iterator[str]:
    if not file.stat().st_size:
        return
    with file.open("rb") as stream, mmap.mmap(stream.fileno(), 0, access=mmap.ACCESS_READ) as data:
        yield from (name for name, shape in shapes.items() if data.find(shape) >= 0)
