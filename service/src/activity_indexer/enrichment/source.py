"""Writes the function that is the plan of a shape: a line for each text, for each derived value and for each part.

What producers send never gets into the source: keys and texts are constants beside it. So shapes that say the same
things have the same source, which is compiled once.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from itertools import count
from types import CodeType
from typing import Any, Final

import msgspec

from activity_indexer.enrichment.caches import Cache
from activity_indexer.enrichment.card_numbers import SHORTEST
from activity_indexer.enrichment.declared import DeclaredStrategy, Part, Text
from activity_indexer.enrichment.text import KEYWORD_CHARACTERS, words_of
from activity_indexer.event import Transaction

Values = dict[str, Any]
"""The metadata of one event: an object without objects in it."""

Found = tuple[bytes, Sequence[str]]
"""What is added: members of a JSON object, with a comma before each, and words_of words."""

Result = tuple[bytes, Sequence[str], Sequence[int]]
"""What a part adds, with placeholders in the members; the words of the copies in these places follow its own words."""

Plan = Callable[[Transaction, Values], Found]

encode: Final = msgspec.json.Encoder(decimal_format="number").encode


PLACEHOLDER: Final = "\1"
"""How placeholders begin, and nothing else: texts are cleaned of control characters."""


class Unusual(Exception):
    """An event that the fast path does not take."""


def placeholder(place: int) -> str:
    """Stands for a text that a part copies: no producer's text is like it, and its letters show it if it is changed."""
    return f"{PLACEHOLDER}Copy{place}\2"


class Writer:
    """Writes the plan for a transaction type and for metadata that says these things, each by its key."""

    def __init__(self, strategy: DeclaredStrategy, transaction_type: str, said: Mapping[str, str]) -> None:
        self._vocabulary = strategy.vocabulary
        self._derived = strategy.derived_parts
        self._said = said
        self._constants: dict[str, Any] = {"transaction_type": transaction_type}
        self._namespace: dict[str, Any] = {"Unusual": Unusual, "encode": encode, "words_of": words_of}
        self._local: dict[str, str] = {}
        self._numbers = count(1)
        self._lines: list[str] = []
        self._members: list[str] = []

    @property
    def text(self) -> str:
        """The source."""
        members = " + ".join(self._members) or "b''"
        lines = "def plan(transaction, values):", "words = []", *self._lines, f"return {members}, words"
        return "\n    ".join(lines) + "\n"

    def function(self) -> Plan:
        """The plan itself."""
        namespace = self._namespace | self._constants
        exec(_compiled(self.text), namespace)  # noqa: S102 - nothing of an event is in the text
        plan: Plan = namespace["plan"]
        return plan

    def add_text(self, part: Text) -> None:
        """Add a text that is searched, and that may be a field."""
        if part.thing not in self._said:
            return
        text, number = self._cleaned(part.thing), next(self._numbers)
        if part.adds:
            self._namespace[f"member_{number}"] = b",%b:" % encode(part.adds)
            self._lines.append(f"members_{number} = member_{number} + encode({text}) if {text} else b''")
            self._members.append(f"members_{number}")
        self._lines.append(f"words += words_of({text})")

    def add_called(self, part: Part, made: Callable[..., Found]) -> None:
        """Add a part that is called for each event."""
        arguments = ", ".join([self._argument(name) for name in part.reads])
        number = next(self._numbers)
        self._namespace[f"part_{number}"] = made
        self._lines += [f"members_{number}, words_{number} = part_{number}({arguments})", f"words += words_{number}"]
        self._members.append(f"members_{number}")

    def add_cached(self, part: Part, results: Cache[tuple[Any, ...], Result]) -> None:
        """Add a part whose results are remembered, with placeholders in them for the texts that it copies."""
        number, arguments, copied = next(self._numbers), list[str](), list[tuple[int, str]]()
        for name in part.reads:
            if name in part.copies and not self._is_constant(name):
                place, text = part.copies.index(name), self._argument(name)
                copied.append((place, text))
                arguments.append(f"{text} and place_{place}")
            else:
                arguments.append(self._argument(name, raw=True))
        self._members.append(f"members_{number}")
        if all(self._is_constant(name) for name in part.reads):
            members, words, _ = results[tuple(self._constants[name] for name in arguments)]
            self._namespace |= {f"members_{number}": members, f"words_{number}": words}
            self._lines.append(f"words += words_{number}")
            return
        self._namespace[f"part_{number}"] = results
        self._lines += [
            f"members_{number}, words_{number}, places_{number} = part_{number}[{', '.join(arguments)},]",
            f"words += words_{number}",
        ]
        for place, text in copied:
            self._namespace[f"place_{place}"] = placeholder(place)
            self._namespace[f"json_place_{place}"] = placeholder(place).encode()
            self._lines += [
                f"if len({text}) > {KEYWORD_CHARACTERS}:",
                "    raise Unusual",
                f"members_{number} = members_{number}.replace(json_place_{place}, encode({text})[1:-1])",
            ]
        if len(copied) == 1:
            self._lines += [f"if places_{number}:", f"    words += words_of({copied[0][1]})"]
        elif copied:
            texts = ", ".join([f"{place}: {text}" for place, text in copied])
            self._lines += [
                f"texts = {{{texts}}}",
                f"for place in places_{number}:",
                "    words += words_of(texts[place])",
            ]

    def _is_constant(self, name: str) -> bool:
        """Whether a value is the same for all events of this shape."""
        derived = self._derived.get(name)
        if derived is not None:
            return all(self._is_constant(each) for each in derived.reads)
        return name == "transaction_type" or (name in self._vocabulary.things and name not in self._said)

    def _argument(self, name: str, *, raw: bool = False) -> str:
        """The expression for a value; `raw` gives things as the metadata says them."""
        if self._is_constant(name):
            return self._constant(name)
        if name in self._derived:
            return self._local.get(name) or self._called(name)
        if name in self._vocabulary.things:
            return f"values[{self._key(name)}]" if raw else self._cleaned(name)
        return f"transaction.{name}"

    def _constant(self, name: str) -> str:
        derived = self._derived.get(name)
        constant = name if name == "transaction_type" else f"constant_{name}"
        if constant not in self._constants:
            arguments = [self._constants[self._constant(each)] for each in derived.reads] if derived else []
            self._constants[constant] = derived.make(*arguments) if derived else ""
        return constant

    def _called(self, name: str) -> str:
        derived = self._derived[name]
        arguments = ", ".join([self._argument(each) for each in derived.reads])
        self._namespace[f"make_{name}"] = derived.make
        self._local[name] = local = f"derived_{name}"
        self._lines.append(f"{local} = make_{name}({arguments})")
        return local

    def _cleaned(self, thing: str) -> str:
        """A local name for the text of a thing. Such a line raises for a value that is no text."""
        if thing not in self._local:
            self._local[thing] = local = f"text_{thing}"
            self._namespace[f"clean_{thing}"] = self._vocabulary.cleaner(thing)
            self._lines += [
                f"{local} = values[{self._key(thing)}]",
                f"if len({local}) >= {SHORTEST} or not {local}.isalnum():",
                f"    {local} = clean_{thing}({local})",
            ]
        return self._local[thing]

    def _key(self, thing: str) -> str:
        self._constants[f"key_{thing}"] = self._said[thing]
        return f"key_{thing}"


@lru_cache(maxsize=256)
def _compiled(source: str) -> CodeType:
    return compile(source, "<plan>", "exec")
