"""JSON with all that a decoder throws away: where each value is, keys that come twice, numbers as written."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from json.decoder import scanstring  # type: ignore[attr-defined]
from typing import Final

Path = tuple[str | int, ...]
"""The way to a value: keys of objects and places in arrays."""

_BLANK: Final = re.compile(r"[ \t\n\r]*")
_PLAIN: Final = re.compile(r"-?(?:0|[1-9]\d*)(?:\.\d+)?(?:[eE][+-]?\d+)?|true|false|null")
_SIMPLE_KEY: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


@dataclass(frozen=True, slots=True)
class Node:
    """A value; `start` and `end` count characters of the text. Of an array, the keys are its places."""

    kind: str
    """`object`, `array`, `string` or `plain`: a number, true, false or null."""
    start: int
    end: int
    text: str = ""
    """What a string says, or what a plain value looks like."""
    members: tuple[tuple[str | int, int, Node], ...] = ()
    """Key, where the key is, and value; in order, also when a key comes twice."""

    def find(self, key: str | int) -> tuple[int, Node] | None:
        """Where a key is, and its value; of a key that comes twice, the last."""
        return next(((start, node) for name, start, node in reversed(self.members) if name == key), None)


def parse(text: str) -> Node:
    """The tree of one JSON value. Raises ValueError, or RecursionError beyond some hundred levels."""
    node = _value(text, _skip(text, 0))
    if _skip(text, node.end) != len(text):
        raise ValueError(f"expected nothing after the value, got {text[node.end : node.end + 10]!r}")
    return node


def _skip(text: str, at: int) -> int:
    match = _BLANK.match(text, at)
    return match.end() if match else at


def _value(text: str, at: int) -> Node:
    first = text[at : at + 1]
    if first == "{":
        return _collection(text, at, "object", "}")
    if first == "[":
        return _collection(text, at, "array", "]")
    if first == '"':
        said, end = scanstring(text, at + 1, False)
        return Node("string", at, end, said)
    match = _PLAIN.match(text, at)
    if match is None:
        raise ValueError(f"expected a value at character {at}, got {text[at : at + 10]!r}")
    return Node("plain", at, match.end(), match[0])


def _collection(text: str, at: int, kind: str, last: str) -> Node:
    members: list[tuple[str | int, int, Node]] = []
    here = _skip(text, at + 1)
    if text[here : here + 1] == last:
        return Node(kind, at, here + 1)
    while True:
        start = here
        key: str | int = len(members)
        if kind == "object":
            key, here = _key(text, here)
        node = _value(text, here)
        members.append((key, start, node))
        here = _skip(text, node.end)
        if text[here : here + 1] == last:
            return Node(kind, at, here + 1, members=tuple(members))
        if text[here : here + 1] != ",":
            raise ValueError(f"expected , or {last} at character {here}, got {text[here : here + 10]!r}")
        here = _skip(text, here + 1)


def _key(text: str, at: int) -> tuple[str, int]:
    if text[at : at + 1] != '"':
        raise ValueError(f"expected a key at character {at}, got {text[at : at + 10]!r}")
    key, end = scanstring(text, at + 1, False)
    colon = _skip(text, end)
    if text[colon : colon + 1] != ":":
        raise ValueError(f"expected : at character {colon}, got {text[colon : colon + 10]!r}")
    return str(key), _skip(text, colon + 1)


def resolve(root: Node, path: Path) -> tuple[int, Node] | None:
    """Where a path leads: the place of its last key (or of the value), and the value."""
    found: tuple[int, Node] | None = root.start, root
    for key in path:
        if found is None:
            return None
        found = found[1].find(key)
    return found


def walk(node: Node, path: Path = ()) -> Iterator[tuple[Path, int, Node]]:
    """Every value below a node: its path, where its key is, and itself."""
    stack = [(path, node)]
    while stack:
        above, parent = stack.pop()
        for key, start, child in parent.members:
            yield (*above, key), start, child
            if child.members:
                stack.append(((*above, key), child))


def repeated_key(node: Node, path: Path = ()) -> tuple[Path, int] | None:
    """The path and the second place of a key that comes twice in an object, at any depth; None when there is none."""
    seen: set[tuple[int, Path]] = set()
    for below, start, parent in ((path, node.start, node), *walk(node, path)):
        if parent.kind == "object":
            for key, place, _ in parent.members:
                if (start, (*below, key)) in seen:
                    return (*below, key), place
                seen.add((start, (*below, key)))
    return None


def shown(path: Path) -> str:
    """A path as users write it: `$.transaction.metadata["a b"][0]`."""
    return "$" + "".join(_step(key) for key in path)


def _step(key: str | int) -> str:
    if isinstance(key, int):
        return f"[{key}]"
    quoted = key.replace("\\", "\\\\").replace('"', '\\"')
    return f".{key}" if _SIMPLE_KEY.fullmatch(key) else f'["{quoted}"]'
