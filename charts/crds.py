"""Writes the CRDs of k8s/crd from the operator's views of its objects.

`python charts/crds.py --write` renews them, `--check` fails when they are not current.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple, cast

import msgspec
import yaml
from msgspec import inspect

from activity_indexer_operator.indexer.spec import Spec
from activity_indexer_operator.indexer.status import Status
from activity_indexer_operator.kube.objects import GROUP, VERSION
from activity_indexer_operator.kube.schema import Rule
from activity_indexer_operator.replay.model import ReplaySpec, ReplayStatus
from activity_indexer_operator.tasks.model import Tasks, TaskStatus

FOLDER: Final = Path(__file__).parents[1] / "k8s" / "crd"
STATUS: Final = "What the operator saw and did; a number that is not known is left out."
SIMPLE: Final = {inspect.BoolType: "boolean", inspect.FloatType: "number", inspect.StrType: "string"}
LIMITS: Final = {
    "ge": "minimum",
    "le": "maximum",
    "min_length": {inspect.StrType: "minLength", inspect.VarTupleType: "minItems"},
    "max_length": {inspect.StrType: "maxLength", inspect.VarTupleType: "maxItems"},
    "pattern": "pattern",
}


class Column(NamedTuple):
    """A column of `kubectl get`; those that are not `wide` are always shown."""

    name: str
    type: str
    path: str
    wide: bool = False


class Kind(NamedTuple):
    """One CRD. `spec` and `status` are all views that share them; `rules` are about the whole object."""

    name: str
    short: str
    description: str
    spec: Sequence[type]
    status: Sequence[type]
    columns: Sequence[Column]
    rules: Sequence[Rule]
    spec_description: str = "What is wanted."
    subresources: Mapping[str, Any] = {"status": {}}


INDEXER: Final = Kind(
    name="ActivityIndexer",
    short="aidx",
    description="Runs an indexer of a Kafka topic into Elasticsearch, or scales one that exists, at the number of "
    "replicas that the topic calls for.",
    spec=(Spec, Tasks),
    status=(Status, TaskStatus),
    columns=(
        Column("Mode", "string", ".spec.mode"),
        Column("Partitions", "integer", ".status.partitions.total"),
        Column("Desired", "integer", ".status.desiredReplicas"),
        Column("Ready", "integer", ".status.readyReplicas"),
        Column("Lag", "integer", ".status.lag.total"),
        Column("Dead", "integer", ".status.deadLetter.depth"),
        Column("Status", "string", '.status.conditions[?(@.type=="Ready")].reason'),
        Column("Policy", "string", ".spec.scaling.policy", wide=True),
        Column("Decision", "string", ".status.decision.reason", wide=True),
        Column("Topic", "string", ".spec.source.kafka.topic", wide=True),
        Column("Group", "string", ".spec.source.kafka.consumerGroup", wide=True),
        Column("Replay", "string", ".status.deadLetter.lastReplay", wide=True),
        Column("Age", "date", ".metadata.creationTimestamp"),
    ),
    rules=(
        Rule(
            "size(self.metadata.name) <= 52",
            "the name must have at most 52 characters: names of Jobs are made from it",
        ),
    ),
    subresources={
        "status": {},
        "scale": {
            "specReplicasPath": ".spec.scaling.replicas",
            "statusReplicasPath": ".status.replicas",
            "labelSelectorPath": ".status.selector",
        },
    },
)

REPLAY: Final = Kind(
    name="DeadLetterReplay",
    short="dlr",
    description="One replay of dead letters of an ActivityIndexer. A dry run finds what matches up to a frozen end; "
    "then, where the mode is Replay and the plan is approved, a Job sends it back to its topic. The object is the "
    "record of it.",
    spec=(ReplaySpec,),
    spec_description="What is wanted. Once started, only approved, suspend, rate, ttlSecondsAfterFinished and job may "
    "change.",
    status=(ReplayStatus,),
    columns=(
        Column("Indexer", "string", ".spec.indexerRef.name"),
        Column("Mode", "string", ".spec.mode"),
        Column("Phase", "string", ".status.phase"),
        Column("Matched", "integer", ".status.plan.matched"),
        Column("Sent", "integer", ".status.progress.sent"),
        Column("Parked", "integer", ".status.progress.parked"),
        Column("Stale", "integer", ".status.progress.stale", wide=True),
        Column("Indexed", "integer", ".status.report.indexed", wide=True),
        Column("Reason", "string", '.status.conditions[?(@.type=="Succeeded")].reason', wide=True),
        Column("Job", "string", ".status.jobName", wide=True),
        Column("Age", "date", ".metadata.creationTimestamp"),
    ),
    rules=(
        Rule(
            "self.metadata.name.size() <= 52",
            "the name may have 52 characters at most: the names of its Jobs are made of it",
            ".spec",
            "FieldValueInvalid",
        ),
        *ReplaySpec.OBJECT_RULES,
    ),
)


def crd(kind: Kind) -> dict[str, Any]:
    """The CustomResourceDefinition."""
    plural = f"{kind.name.lower()}s"
    spec, status = (_merged([_object(view, status=of == "status") for view in views])
                    for of, views in (("spec", kind.spec), ("status", kind.status)))  # fmt: skip
    root = {
        "type": "object",
        "description": kind.description,
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": spec | {"description": kind.spec_description},
            "status": status | {"description": STATUS},
        },
        "x-kubernetes-validations": [_rule(each) for each in kind.rules],
    }
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{plural}.{GROUP}", "labels": {"app.kubernetes.io/part-of": "activity-indexer"}},
        "spec": {
            "group": GROUP,
            "scope": "Namespaced",
            "names": {
                "kind": kind.name,
                "listKind": f"{kind.name}List",
                "plural": plural,
                "singular": kind.name.lower(),
                "shortNames": [kind.short],
                "categories": ["activityindexer"],
            },
            "versions": [
                {
                    "name": VERSION,
                    "served": True,
                    "storage": True,
                    "subresources": dict(kind.subresources),
                    "additionalPrinterColumns": [
                        {"name": each.name, "type": each.type, "jsonPath": each.path}
                        | ({"priority": 1} if each.wide else {})
                        for each in kind.columns
                    ],
                    "schema": {"openAPIV3Schema": root},
                }
            ],
        },
    }


def _object(view: type, *, status: bool, item: bool = False) -> dict[str, Any]:
    """A view as a schema. What a status lacks is unknown: it has no defaults, and requires nothing outside of lists."""
    fields = cast("inspect.StructType", inspect.type_info(view)).fields
    schema: dict[str, Any] = {"type": "object", "description": _first_line(view)}
    required = [each.encode_name for each in fields if each.required]
    required += [name for name in getattr(view, "REQUIRED", ()) if name not in required]
    if required and (item or not status):
        schema["required"] = required
    schema["properties"] = {each.encode_name: _field(each, status=status) for each in fields}
    if rules := getattr(view, "RULES", ()):
        schema["x-kubernetes-validations"] = [_rule(each) for each in rules]
    return schema


def _field(field: inspect.Field, *, status: bool) -> dict[str, Any]:
    schema = _schema(field.type, status=status)
    default = field.default
    if not status and isinstance(default, bool | int | float | str) and default != "":
        schema.setdefault("default", int(default) if isinstance(default, float) and default % 1 == 0 else default)
    return schema


def _schema(kind: inspect.Type, *, status: bool, item: bool = False) -> dict[str, Any]:
    match kind:
        case inspect.Metadata():
            schema = _merged([_schema(kind.type, status=status, item=item), kind.extra_json_schema or {}])
        case inspect.UnionType():
            [inner] = [each for each in kind.types if not isinstance(each, inspect.NoneType)]
            schema = _schema(inner, status=status, item=item)
        case inspect.StructType():
            schema = _object(kind.cls, status=status, item=item)
        case inspect.LiteralType():
            schema = {"type": "string", "enum": list(kind.values)}
        case inspect.EnumType():
            schema = {"type": "string", "enum": [each.value for each in kind.cls]}
        case inspect.VarTupleType():
            schema = {"type": "array", **_limits(kind), "items": _schema(kind.item_type, status=status, item=True)}
        case inspect.DictType(value_type=inspect.AnyType()):
            schema = {"type": "object", "x-kubernetes-preserve-unknown-fields": True}
        case inspect.DictType():
            schema = {"type": "object", "additionalProperties": _schema(kind.value_type, status=status)}
        case inspect.IntType():
            schema = {"type": "integer", **_limits(kind), "format": "int32"}
        case _:
            schema = {"type": SIMPLE[type(kind)], **_limits(kind)}
    return schema


def _limits(kind: Any) -> dict[str, Any]:
    named = {name: limit if isinstance(limit, str) else limit.get(type(kind), "") for name, limit in LIMITS.items()}
    found = {named[name]: getattr(kind, name, None) for name in named if named[name]}
    return {name: value for name, value in found.items() if value is not None}


def _rule(rule: Rule) -> dict[str, str]:
    reported = {"rule": rule.rule, "message": rule.message, "fieldPath": rule.field_path, "reason": rule.reason}
    return {name: value for name, value in reported.items() if value}


def _first_line(view: type) -> str:
    return (view.__doc__ or "").splitlines()[0]


def _merged(schemas: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """One schema of several: objects are merged, of all else the later one counts, but for an empty description."""
    found: dict[str, Any] = {}
    for name, value in (pair for schema in schemas for pair in schema.items()):
        if isinstance(value, Mapping) and isinstance(found.get(name), Mapping):
            found[name] = _merged([found[name], value])
        elif name == "required":
            found[name] = [*found.get(name, ()), *(each for each in value if each not in found.get(name, ()))]
        elif value or name != "description":
            found[name] = value
    return found


def _ordered(value: Any) -> Any:
    """The schema in the order in which it is best read: fields last."""
    if isinstance(value, list):
        return [_ordered(each) for each in value]
    if not isinstance(value, dict):
        return value
    if "type" in value and isinstance(value["type"], str):
        last = [
            name
            for name in ("items", "properties", "additionalProperties", "x-kubernetes-validations")
            if name in value
        ]
        value = {name: value[name] for name in (*(name for name in value if name not in last), *last)}
    return {name: _ordered(each) for name, each in value.items()}


class _Plain(yaml.SafeDumper):
    """Without anchors."""

    def ignore_aliases(self, data: Any) -> bool:  # noqa: ARG002 - the library's
        """Repeat what is repeated."""
        return True


def files() -> Iterator[tuple[Path, str]]:
    """Each file and what it should hold."""
    for kind in (INDEXER, REPLAY):
        body = msgspec.to_builtins(_ordered(crd(kind)))
        text = yaml.dump(body, Dumper=_Plain, sort_keys=False, width=120, allow_unicode=True)
        yield FOLDER / f"{kind.name.lower()}s.yaml", "# Written by charts/crds.py from the operator's views.\n" + text


def main() -> None:
    """Print, write or check."""
    for path, text in files():
        if "--write" in sys.argv:
            path.write_text(text, encoding="utf-8")
        elif "--check" in sys.argv:
            if path.read_text(encoding="utf-8") != text:
                raise SystemExit(f"{path} is not current: run python charts/crds.py --write")
        else:
            sys.stdout.write(text)


if __name__ == "__main__":
    main()
