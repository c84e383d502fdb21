"""Writes what values.schema.json of the indexer's chart says about settings, from where they are declared.

`python charts/values_schema.py --write` renews it, `--check` fails when it is not current.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

from pydantic.fields import FieldInfo

from activity_common.settings_section import is_secret
from activity_indexer.settings import declared

SCHEMA: Final = Path(__file__).parent / "activity-indexer" / "values.schema.json"
KEPT: Final = ("type", "enum", "pattern", "minimum", "maximum", "exclusiveMinimum", "minLength", "maxLength")
ADDRESSES: Final = ("ELASTICSEARCH_URL", "REDIS_URL", "DATABASE_URL")
"""Secret only because they may hold a password; without one they may stand in the ConfigMap."""


def definitions() -> dict[str, Any]:
    """Definitions of `config`, `secrets` and `secretFiles`."""
    config: dict[str, Any] = {}
    secrets: dict[str, Any] = {}
    files: dict[str, Any] = {}
    for section, field, variable, info in declared():
        shape = section.model_json_schema()["properties"][field]
        reference = {"$ref": "#/$defs/secretKey", "description": str(info.description)}
        if _is_file(shape):
            files[variable] = reference
            continue
        secrets[variable] = reference
        if not is_secret(info) or variable in ADDRESSES:
            config[variable] = _value(shape, info)
    return {
        "config": _closed(config, "Settings by variable; null takes a default of the chart away."),
        "secrets": _closed(secrets, "Settings from entries of existing Secrets."),
        "secretFiles": _closed(files, "Files from entries of existing Secrets."),
    }


def current() -> str:
    """The schema as it should be."""
    schema = json.loads(SCHEMA.read_text(encoding="utf-8"))
    schema["$defs"] |= definitions()
    return json.dumps(schema, indent=2, ensure_ascii=False) + "\n"


def _closed(properties: Mapping[str, Any], about: str) -> dict[str, Any]:
    return {"type": "object", "description": about, "additionalProperties": False, "properties": dict(properties)}


def _is_file(shape: Mapping[str, Any]) -> bool:
    return any(
        option.get("format") == "file-path" or option.get("format") == "path" for option in shape.get("anyOf", ())
    )


def _value(shape: Mapping[str, Any], info: FieldInfo) -> dict[str, Any]:
    kept = {key: shape[key] for key in KEPT if key in shape}
    if kept["type"] == "number":  # `--set` makes text of 0.5
        kept |= {"type": ["number", "string", "null"], "pattern": r"^[0-9]+(\.[0-9]+)?$"}
    else:
        kept["type"] = [kept["type"], "null"]
    if "enum" in kept:
        kept["enum"] = [*kept["enum"], None]
    return {**kept, "description": str(info.description)}


def main() -> None:
    """Print, write or check."""
    wanted = current()
    if "--write" in sys.argv:
        SCHEMA.write_text(wanted, encoding="utf-8")
    elif "--check" in sys.argv:
        if SCHEMA.read_text(encoding="utf-8") != wanted:
            raise SystemExit(f"{SCHEMA} is not current: run python charts/values_schema.py --write")
    else:
        sys.stdout.write(wanted)


if __name__ == "__main__":
    main()
