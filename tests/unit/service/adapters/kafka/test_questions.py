"""What the broker is asked beside the client's own questions."""

from types import SimpleNamespace
from typing import Any

import pytest
from aiokafka.errors import GroupCoordinatorNotAvailableError, IncompatibleBrokerVersion

from activity_indexer.adapters.kafka.questions import NO_ID, MembersRequest, TopicRequest, holder_of, topic_id


def test_a_question_for_a_topic_creates_none() -> None:
    question = TopicRequest("transactions").prepare({3: (0, 13)})
    assert question.to_object()["topics"] == [{"topic_id": NO_ID, "name": "transactions", "tags": {}}]
    assert question.to_object()["allow_auto_topic_creation"] is False
    assert question.encode().startswith(b"\x02" + NO_ID + b"\x0dtransactions")


def test_a_broker_that_has_no_ids_is_not_asked_for_one() -> None:
    with pytest.raises((IncompatibleBrokerVersion, NotImplementedError)):
        TopicRequest("transactions").prepare({3: (0, 9)})


def test_ids_are_written_as_kafkas_tools_write_them() -> None:
    assert topic_id(bytes(range(16))) == "AAECAwQFBgcICQoLDA0ODw"
    assert topic_id(NO_ID) == ""


def answer(*members: dict[str, Any], code: int = 0) -> Any:
    group = {"error_code": code, "group": "g", "members": list(members)}
    return SimpleNamespace(to_object=lambda: {"groups": [group]})


def member(member_id: str, instance: str | None) -> dict[str, Any]:
    return {"member_id": member_id, "group_instance_id": instance, "client_id": "c", "client_host": "/10.0.0.7"}


def test_another_member_with_the_instances_name_is_named() -> None:
    assert holder_of(answer(member("me", "x"), member("b", None)), "x", "me") is None
    assert holder_of(answer(member("b", "x")), "x", "me") == "client c on 10.0.0.7"
    assert holder_of(answer(member("b", "x")), "x") == "client c on 10.0.0.7"
    assert holder_of(answer(), "x") is None


def test_a_broker_that_cannot_say_is_not_taken_for_an_empty_group() -> None:
    with pytest.raises(GroupCoordinatorNotAvailableError):
        holder_of(answer(code=15), "x")


def test_the_members_of_one_group_are_asked_for() -> None:
    assert MembersRequest("g").prepare({15: (0, 6)}).to_object() == {
        "groups": ["g"],
        "include_authorized_operations": False,
    }
