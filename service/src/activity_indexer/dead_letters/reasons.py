"""What an error's words name: the field it is about."""

from __future__ import annotations

import re
from typing import Final

_FIELD: Final = re.compile(
    r"required field `(?P<missing>[^`]+)`"
    r"|- at `\$\.?(?P<at>[^`]*)`"
    r"|(?:failed to parse field|metadata field|object mapping for|Field) \[(?P<mapped>[^\]]+)\]"
    r"|Duplicate field '(?P<twice>[^']*)'"
    r"|\A(?P<reserved>_\w+(?:, _\w+)*): "
    r"|\Aexpected (?P<kind>event_type) "
    r"|\A(?P<own>[a-z_]+): "
    r"|\Astrategy (?P<strategy>\S+): "
)


def field_of(message: str) -> str:
    """The field that an error is about, as the error names it (`user_id`, `metadata.a`); empty when it names none.

    Of an enrichment it is the strategy.
    """
    match = _FIELD.search(message)
    return next(filter(None, match.groups()), "") if match else ""
