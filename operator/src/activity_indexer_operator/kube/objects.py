"""What all of our objects have in common: keys, views, conditions."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, ClassVar, Final, Literal, TypeAlias, TypeVar

import msgspec

from activity_indexer_operator.kube.schema import Count, EntryName, SecretName, Time, described

GROUP: Final = "activityindexer.io"
VERSION: Final = "v1alpha1"
API_VERSION: Final = f"{GROUP}/{VERSION}"
MANAGER: Final = "activity-indexer-operator"
"""Name of our field manager; also in Events and labels."""

Text = Annotated[str, msgspec.Meta(min_length=1)]
Positive = Annotated[int, msgspec.Meta(ge=1)]
Natural = Annotated[int, msgspec.Meta(ge=0)]
Parsed = TypeVar("Parsed", bound=msgspec.Struct)
Body: TypeAlias = Mapping[str, Any]
"""An object as the API server's JSON has it."""


@dataclass(frozen=True, slots=True, order=True)
class Key:
    """Which object: its kind, namespace and name."""

    kind: str
    namespace: str
    name: str

    def __str__(self) -> str:
        """For messages."""
        return f"{self.kind} {self.namespace}/{self.name}"


class View(msgspec.Struct, frozen=True, rename="camel", omit_defaults=True):
    """A part of an object; fields that are not known here are left alone."""


class Condition(View, frozen=True, omit_defaults=False):
    """One statement about an object, in Kubernetes' form (KEP-1623)."""

    REQUIRED: ClassVar = ("lastTransitionTime",)

    type: Annotated[str, described("What it speaks of.", maxLength=316)]
    status: Annotated[Literal["True", "False", "Unknown"], described("Whether it holds.")]
    reason: Annotated[str, described("Why, as a word.", minLength=1, maxLength=1024)]
    message: Annotated[str, described("Why, in a sentence.", maxLength=32768)]
    last_transition_time: Annotated[Time, described("When the status last changed.")] = ""
    observed_generation: Annotated[Count, described("Generation of the spec that it speaks of.", minimum=0)] = 0


class NameRef(View, frozen=True):
    """Another object of the same namespace."""

    name: Annotated[Text, described("Its name.", maxLength=253)]


class KeyRef(View, frozen=True):
    """One entry of a Secret of the same namespace."""

    name: Annotated[Text, described("Its name.", maxLength=253)]
    key: Annotated[Text, described("Its entry.", maxLength=253)]


class FileRef(View, frozen=True):
    """A Secret's entry that is a PEM file."""

    name: SecretName
    key: EntryName = "ca.crt"


class CredentialsRef(View, frozen=True):
    """A Secret with a user and a password, and the names of its entries."""

    name: SecretName
    username_key: Annotated[EntryName, described("Entry with the user.")] = "username"
    password_key: Annotated[EntryName, described("Entry with the password.")] = "password"  # noqa: S105 - the name of an entry


@dataclass(frozen=True, slots=True)
class InvalidSpec:
    """Why a spec cannot be used: what was expected, what came, what to do."""

    message: str


def parsed_spec(body: Body, view: type[Parsed]) -> Parsed | InvalidSpec:
    """An object's spec. The schema rejects most of what is wrong; an object may be older than its schema."""
    try:
        return msgspec.convert(body.get("spec", {}), view)
    except msgspec.ValidationError as error:
        return InvalidSpec(f"spec: {error}")


def parsed_status(body: Body, view: type[Parsed]) -> Parsed:
    """An object's status; an unreadable one counts as none."""
    try:
        return msgspec.convert(body.get("status") or {}, view)
    except msgspec.ValidationError:
        return view()


@dataclass(frozen=True, slots=True)
class Meta:
    """What is needed of an object's metadata."""

    key: Key
    uid: str
    generation: int
    annotations: Mapping[str, str]
    deleted: bool


def meta_of(body: Body) -> Meta:
    """The metadata of one of our objects."""
    meta = body["metadata"]
    return Meta(
        key=Key(body["kind"], meta["namespace"], meta["name"]),
        uid=str(meta.get("uid", "")),
        generation=int(meta.get("generation", 0)),
        annotations=meta.get("annotations") or {},
        deleted="deletionTimestamp" in meta,
    )


def owner_reference(meta: Meta) -> dict[str, Any]:
    """The reference by which the garbage collector removes what belongs to the object."""
    return {
        "apiVersion": API_VERSION,
        "kind": meta.key.kind,
        "name": meta.key.name,
        "uid": meta.uid,
        "controller": True,
        "blockOwnerDeletion": False,
    }


def controller_of(body: Body) -> tuple[str, str, str] | None:
    """Kind, name and uid of the object that controls this one; None when none does."""
    for reference in body["metadata"].get("ownerReferences", ()):
        if reference.get("controller"):
            return reference["kind"], reference["name"], reference["uid"]
    return None


def without_managed_fields(body: Body) -> Body:
    """The object without its longest part, which the operator does not read."""
    return {**body, "metadata": {name: part for name, part in body["metadata"].items() if name != "managedFields"}}
