"""What settings from the environment have in common: how they are read, and how an error names its variable."""

from __future__ import annotations

import os
from collections.abc import Iterator

from pydantic import SecretStr, ValidationError
from pydantic.fields import FieldInfo
from pydantic_settings import BaseSettings, SettingsConfigDict


class Section(BaseSettings):
    """Settings with one prefix. Empty variables count as missing, as a Compose file or a ConfigMap writes them."""

    model_config = SettingsConfigDict(env_ignore_empty=True, frozen=True, extra="ignore", hide_input_in_errors=True)


def variable(section: type[Section], field: str) -> str:
    """Name of a field's environment variable."""
    alias = section.model_fields[field].validation_alias
    return alias if isinstance(alias, str) else f"{section.model_config['env_prefix']}{field}".upper()


def is_secret(info: FieldInfo) -> bool:
    """Whether a field's value must never be shown."""
    return info.annotation is SecretStr


def problems(section: type[Section], error: ValidationError) -> Iterator[str]:
    """A line for each variable that is wrong: what was expected, what came, and what the setting means."""
    fields = {variable(section, field): info for field, info in section.model_fields.items()}
    for detail in error.errors():
        message = detail["msg"].removeprefix("Value error, ")
        if not detail["loc"]:
            yield from message.splitlines()
            continue
        field = str(detail["loc"][0])
        name = variable(section, field) if field in section.model_fields else field
        info = fields[name]
        got = "a value that is not shown" if is_secret(info) else repr(os.environ.get(name))
        yield f"{name}: {message[0].lower()}{message[1:]}, got {got}. {info.description}"
