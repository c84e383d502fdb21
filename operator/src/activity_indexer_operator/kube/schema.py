"""What a CRD says about a field beyond its type. `charts/crds.py` writes the CRDs from the views and from this."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final, Literal, NamedTuple

import msgspec

OBJECT_NAME: Final = r"^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"
ENTRY_NAME: Final = r"^[-._a-zA-Z0-9]+$"


class Rule(NamedTuple):
    """A rule in CEL that the API server checks, and what to do when it fails. A view has them in `RULES`."""

    rule: str
    message: str
    field_path: str = ""
    reason: str = ""


def described(
    description: str, *, list_type: Literal["", "set", "map"] = "", keys: Sequence[str] = (), **facts: Any
) -> msgspec.Meta:
    """What the CRD says about a field: `facts` are JSON Schema's. The view itself does not check them."""
    if list_type:
        facts["x-kubernetes-list-type"] = list_type
    if keys:
        facts["x-kubernetes-list-map-keys"] = list(keys)
    return msgspec.Meta(description=description, extra_json_schema=facts)


def secret(description: str, *, entry: bool = False) -> msgspec.Meta:
    """A reference to a Secret, or to an `entry` of it."""
    properties = {"name": {"description": "Name of the Secret.", "pattern": OBJECT_NAME}}
    if entry:
        properties["key"] = {"description": "Entry of the Secret.", "pattern": ENTRY_NAME}
    return described(description, properties=properties)


Count = Annotated[int, msgspec.Meta(extra_json_schema={"format": "int64"})]
Time = Annotated[str, msgspec.Meta(extra_json_schema={"format": "date-time"})]
SecretName = Annotated[
    str, msgspec.Meta(min_length=1), described("Name of the Secret.", maxLength=253, pattern=OBJECT_NAME)
]
EntryName = Annotated[
    str, msgspec.Meta(min_length=1), described("Entry of the Secret.", maxLength=253, pattern=ENTRY_NAME)
]
Labels = Annotated[
    dict[str, Annotated[str, msgspec.Meta(extra_json_schema={"maxLength": 4096})]],
    msgspec.Meta(extra_json_schema={"maxProperties": 64}),
]
Parts = tuple[dict[str, Any], ...]
"""Parts of a pod that are given on as they are."""
NamedParts = Annotated[
    tuple[
        Annotated[
            dict[str, Any],
            msgspec.Meta(
                extra_json_schema={
                    "required": ["name"],
                    "properties": {
                        "name": {"type": "string", "description": "Its name.", "minLength": 1, "maxLength": 253}
                    },
                }
            ),
        ],
        ...,
    ],
    described("", list_type="map", keys=("name",)),
]
