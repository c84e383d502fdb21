"""What each answer of Elasticsearch leads to: from a server of ours before it, and from the real one."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest
from aiohttp import web
from aiokafka import AIOKafkaProducer
from aiokafka.admin import NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from fixtures.events import event, moment
from fixtures.servers.elasticsearch_front import ELASTICSEARCH, Answer, Bulk, Front, Rule, page, sleepy, status
from fixtures.servers.indexer import Indexer
from fixtures.servers.place import Place
from fixtures.waiting import eventually

from activity_indexer.document import NOT_DELETED, settings

pytestmark = pytest.mark.integration
Start = Callable[..., Indexer]


@pytest.fixture
async def front(place: Place) -> AsyncIterator[Front]:
    """Is before Elasticsearch for every indexer of the test."""
    async with Front.before(place.servers.elasticsearch_url) as found:
        place.environment["ELASTICSEARCH_URL"] = found.url
        yield found


def events(count: int, prefix: str = "t") -> list[dict[str, Any]]:
    return [event(f"{prefix}{number}", note="no address") for number in range(count)]


def first(count: int, rule: Rule) -> Rule:
    """The rule, for this many requests."""
    left = [rule] * count

    async def answer(bulk: Bulk) -> Answer:
        return await left.pop()(bulk) if left else None

    return answer


def holding(name: str, rule: Rule) -> Rule:
    """The rule, for every request that holds this document."""

    async def answer(bulk: Bulk) -> Answer:
        return await rule(bulk) if name in bulk.ids else None

    return answer


async def nothing_dead_lettered(place: Place) -> bool:
    return await place.dead_letters() == []


# Retry


async def test_only_the_items_that_were_pushed_back_are_sent_again(place: Place, front: Front, indexer: Start) -> None:
    async def busy(bulk: Bulk) -> Answer:
        refused = {name: (429, "es_rejected_execution_exception") for name in ("t3", "t7") if name in bulk.ids}
        return await bulk.with_items(refused)

    front.rule = first(3, busy)
    process = await indexer().ready()
    await place.publish(events(10))
    assert await process.settled(10) == {"indexed": 10}
    assert (await place.documents()).keys() == {f"t{number}" for number in range(10)}
    sent = [name for bulk in front.bulks for name in bulk.ids]
    assert sent.count("t3") == sent.count("t7") == 4
    assert sent.count("t1") == 1
    assert await process.metric("retries_total", reason="es_rejected_execution_exception") == 6
    assert await nothing_dead_lettered(place)


async def torn(bulk: Bulk) -> Answer:
    return await bulk.torn()


async def slow(bulk: Bulk) -> Answer:
    return await sleepy(bulk, 4)


async def html(_bulk: Bulk) -> Answer:
    return page()


async def short(_bulk: Bulk) -> Answer:
    return web.json_response({"errors": True, "items": []}, headers=ELASTICSEARCH)


async def odd_items(bulk: Bulk) -> Answer:
    return await bulk.with_items(dict.fromkeys(bulk.ids, (500, "null_pointer_exception")))


async def odd_item(bulk: Bulk) -> Answer:
    return await bulk.with_items({"t5": (500, "null_pointer_exception")})


async def unavailable_shard(bulk: Bulk) -> Answer:
    return await bulk.with_items(dict.fromkeys(bulk.ids, (503, "unavailable_shards_exception")))


async def full_disk(bulk: Bulk) -> Answer:
    return await bulk.with_items(dict.fromkeys(bulk.ids, (403, "cluster_block_exception")))


PASSING: dict[str, Rule] = {
    "429": status(429, "es_rejected_execution_exception"),
    "429 of a breaker": status(429, "circuit_breaking_exception"),
    "502": status(502),
    "503": status(503, "unavailable_shards_exception"),
    "503 without a master": status(503, "master_not_discovered_exception"),
    "504": status(504),
    "a 503 that is only in the items": unavailable_shard,
    "a full disk": full_disk,
    "a broken connection": torn,
    "no answer in time": slow,
    "500": status(500, "null_pointer_exception"),
    "a 500 that is only in the items": odd_items,
    "HTML with status 200": html,
    "too few items": short,
}


async def test_what_passes_by_itself_costs_no_event(place: Place, front: Front, indexer: Start) -> None:
    """Also a plain 500 or an answer without a known cause, as long as a further try passes."""
    process = await indexer(ELASTICSEARCH_REQUEST_TIMEOUT="2").ready()
    for number, (name, rule) in enumerate(PASSING.items()):
        front.rule = first(2, rule)
        await place.publish(events(3, f"{name}-"))
        outcomes = await process.settled(3 * (number + 1))
        assert outcomes.keys() <= {"indexed", "duplicate"}, name
        assert await process.metric("dependency_up", dependency="elasticsearch") == 1, name
    assert (await place.documents()).keys() == {f"{name}-{number}" for name in PASSING for number in range(3)}
    assert await nothing_dead_lettered(place)
    assert await eventually(place.lag, 0) == 0


async def test_during_an_outage_intake_waits_and_says_why_and_liveness_stays_good(
    place: Place, front: Front, indexer: Start
) -> None:
    process = await indexer(
        CONSUMER_REQUEST_EVENTS="10", CONSUMER_BATCH_SIZE="10", CONSUMER_FETCH_MAX_RECORDS="10"
    ).ready()
    front.rule = status(503, "master_not_discovered_exception")
    await place.publish(events(500))

    async def down() -> float:
        return await process.metric("dependency_up", dependency="elasticsearch")

    await eventually(down, 0)
    await asyncio.sleep(3)
    assert await process.metric("events_consumed_total") < 500
    assert (await process.reasons("/livez")).startswith("200 waiting: elasticsearch: ")
    used = process.cpu_seconds()
    await asyncio.sleep(3)
    assert process.cpu_seconds() - used < 1.5
    front.rule = None
    assert await process.settled(500) == {"indexed": 500}
    assert await nothing_dead_lettered(place)


# Halt


async def test_a_refused_login_stops_intake_until_it_is_fixed(place: Place, front: Front, indexer: Start) -> None:
    process = await indexer().ready()
    for number, (code, error) in enumerate([(401, "security_exception"), (403, "security_exception")]):
        front.rule = status(code, error, "no such user")
        await place.publish(events(20, f"{code}-"))
        reasons = await eventually(process.reasons, lambda found: found.startswith("503"))
        assert "elasticsearch: security_exception: no such user" in reasons
        assert (await process.get("/livez"))[0] == 200
        assert await process.metric("dependency_up", dependency="elasticsearch") == 0
        front.rule = None
        assert await process.settled(20 * (number + 1)) == {"indexed": 20 * (number + 1)}
        await process.ready()
    assert await nothing_dead_lettered(place)


# Split and bisect


async def test_a_request_that_is_too_large_is_halved_and_only_a_document_that_is_too_large_alone_is_dead_lettered(
    place: Place, front: Front, indexer: Start
) -> None:
    async def limited(bulk: Bulk) -> Answer:
        if len(bulk.body) > 20_000:
            return web.Response(status=413, text="<html>too large</html>")
        return None

    front.rule = limited
    process = await indexer().ready()
    large = event("large", metadata={"note": "n" * 25_000})
    await place.publish([*events(25), large, *events(24, "u")])
    assert await process.settled(50) == {"indexed": 49, "dead_lettered": 1}
    (letter,) = await place.dead_letters()
    headers = dict(letter.headers)
    assert (headers["dead-letter-stage"], headers["dead-letter-error"]) == (b"index", b"request_too_large")
    assert b"large" in letter.value
    assert await place.count() == 49


async def test_of_a_request_that_is_refused_as_a_whole_the_guilty_document_is_found(
    place: Place, front: Front, indexer: Start
) -> None:
    front.rule = holding("t17", status(400, "illegal_argument_exception", "malformed"))
    process = await indexer().ready()
    await place.publish(events(50))
    assert await process.settled(50) == {"indexed": 49, "dead_lettered": 1}
    (letter,) = await place.dead_letters()
    assert dict(letter.headers)["dead-letter-error"] == b"illegal_argument_exception"
    assert (await place.documents()).keys() == {f"t{number}" for number in range(50)} - {"t17"}


# Suspect


@pytest.mark.parametrize("rule", [status(500, "null_pointer_exception"), odd_item])
async def test_what_has_no_known_cause_is_tried_three_times_more_and_then_dead_lettered(
    place: Place, front: Front, indexer: Start, rule: Rule
) -> None:
    front.rule = holding("t5", rule)
    process = await indexer().ready()
    await place.publish(events(10))
    assert await process.settled(10) == {"indexed": 9, "dead_lettered": 1}
    assert (await place.documents()).keys() == {f"t{number}" for number in range(10)} - {"t5"}
    (letter,) = await place.dead_letters()
    assert b'"t5"' in letter.value
    assert int(dict(letter.headers)["dead-letter-attempts"]) >= 4


# Gateways

GATEWAYS: dict[str, Callable[[], web.Response]] = {
    "302 to a login page": lambda: web.Response(status=302, headers={"location": "/login"}),
    "308 to another host": lambda: web.Response(status=308, headers={"location": "http://localhost:1/elsewhere"}),
    "200 with HTML": page,
    "200 with nothing": lambda: web.Response(status=200),
    "200 with {}": lambda: web.json_response({}),
    "200 of a mock": lambda: web.json_response({"errors": False, "items": []}, headers=ELASTICSEARCH),
    "204": lambda: web.Response(status=204),
    "truncated JSON": lambda: web.Response(
        body=b'{"errors":true,"items":[{"index":{"status":40', content_type="application/json", headers=ELASTICSEARCH
    ),
    **{
        str(number): lambda number=number: page(number) for number in (400, 404, 405, 407, 410, 421, 425, 499, 500, 507)
    },
    **{str(number): lambda number=number: page(number) for number in (520, 522, 524, 526, 530)},
}


async def test_an_answer_of_a_gateway_is_an_outage_that_says_what_came(
    place: Place, front: Front, indexer: Start
) -> None:
    process = await indexer(CONSUMER_BACKOFF_MAX="0.3").ready()
    for number, (name, answer) in enumerate(GATEWAYS.items()):

        async def rule(_bulk: Bulk, answer: Callable[[], web.Response] = answer) -> Answer:
            return answer()

        front.rule = rule
        front.bulks.clear()
        await place.publish(events(20, f"{name}-"))
        reasons = await eventually(process.reasons, lambda found: "waiting: elasticsearch" in found)
        assert reasons.startswith("200 "), name
        assert "<" not in reasons, name
        await eventually(lambda: _count(front), lambda found: found > 6)
        assert await process.outcomes() == ({"indexed": 20 * number} if number else {}), name
        front.rule = None
        assert await process.settled(20 * (number + 1)) == {"indexed": 20 * (number + 1)}, name
    assert await nothing_dead_lettered(place)


async def _count(front: Front) -> int:
    return len(front.bulks)


async def test_a_document_that_a_gateway_refuses_waits_alone_and_says_so(
    place: Place, front: Front, indexer: Start
) -> None:
    front.rule = holding("t5", html)
    process = await indexer(CONSUMER_BACKOFF_MAX="0.3").ready()
    await place.publish(events(10))
    await eventually(process.outcomes, {})
    reasons = await eventually(process.reasons, lambda found: "waiting: documents" in found)
    assert "1 sent alone, refused while others pass" in reasons
    assert "sign in" in reasons
    await place.publish(events(20, "u"))
    assert await process.settled(20) == {"indexed": 20}
    front.rule = None
    assert await process.settled(30) == {"indexed": 30}
    assert await nothing_dead_lettered(place)


# Against the real server


async def test_an_index_that_refuses_every_document_is_a_halt_with_the_reason(place: Place, indexer: Start) -> None:
    """The trial document, which is known to be good, is refused in the same way."""
    process = await indexer(CONSUMER_BACKOFF_MAX="0.5").ready()
    await place.es.indices.put_settings(index=place.index, settings={"index.default_pipeline": "nope"})
    await place.publish(events(20))
    reasons = await eventually(process.reasons, lambda found: found.startswith("503"))
    assert "pipeline" in reasons
    await asyncio.sleep(1)
    assert await process.outcomes() == {}
    await place.es.indices.put_settings(index=place.index, settings={"index.default_pipeline": None})
    assert await process.settled(20) == {"indexed": 20}
    await process.ready()
    assert await nothing_dead_lettered(place)


DEFECTS: dict[str, dict[str, Any]] = {
    "required routing": {"_routing": {"required": True}},
    "a strict mapping": {"dynamic": "strict"},
    "user_id as a number": {"properties": {"user_id": {"type": "integer"}}},
    "metadata as text": {"properties": {"metadata": {"type": "keyword"}}},
}


@pytest.mark.parametrize("mapping", DEFECTS.values(), ids=DEFECTS)
async def test_an_index_of_another_form_dead_letters_nothing(
    place: Place, indexer: Start, mapping: dict[str, Any]
) -> None:
    process = await indexer(CONSUMER_BACKOFF_MAX="0.5").ready()
    broken = f"{place.name}-broken"
    analysis = settings(1, 0, "1s")["analysis"]
    await place.es.indices.create(index=broken, mappings=mapping, settings={"analysis": analysis})
    try:
        await place.es.indices.update_aliases(
            actions=[
                {"remove": {"index": place.index, "alias": place.name}},
                {"add": {"index": broken, "alias": place.name, "is_write_index": True}},
            ]
        )
        await place.publish(events(20))
        assert (await eventually(process.reasons, lambda found: found.startswith("503"))) != "503"
        await asyncio.sleep(1)
        assert await process.outcomes() == {}
        await place.es.indices.update_aliases(
            actions=[
                {"remove": {"index": broken, "alias": place.name}},
                {"add": {"index": place.index, "alias": place.name, "is_write_index": True, "filter": NOT_DELETED}},
            ]
        )
        assert await process.settled(20) == {"indexed": 20}
        await process.ready()
        assert await nothing_dead_lettered(place)
    finally:
        await place.es.indices.delete(index=broken)


LARGE = 40_000_000


async def test_a_document_too_large_for_the_cluster_is_dead_lettered_while_others_pass(
    place: Place, indexer: Start
) -> None:
    """Elasticsearch pushes it back for ever, though nothing else is under way."""
    process = await indexer(
        CONSUMER_BATCH_BYTES="90000000",
        CONSUMER_BACKOFF_MAX="0.3",
        CONSUMER_PUSH_BACK_TRIES="4",
        CONSUMER_PUSH_BACK_TIMEOUT="5",
        KAFKA_MAX_REQUEST_BYTES=str(LARGE),
        KAFKA_MAX_RECORD_BYTES=str(LARGE),
        CONSUMER_MEMORY_BUDGET=str(16 * LARGE),
    ).ready()
    await place.admin.create_topics([NewTopic(place.dead_letter_topic, 1, 1)])
    raised = {"max.message.bytes": str(LARGE)}
    for topic in (place.name, place.dead_letter_topic):
        await place.admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, topic, raised)])
    await place.publish(events(3))
    async with AIOKafkaProducer(bootstrap_servers=place.servers.kafka, max_request_size=LARGE) as producer:
        large = event("large", description="n" * 24_000_000)
        await producer.send_and_wait(place.name, json.dumps(large).encode(), key=b"user_1")
    await place.publish(events(3, "u"))
    reasons = await eventually(process.reasons, lambda found: "waiting: documents" in found)
    assert "es_rejected_execution_exception" in reasons
    await place.publish(events(10, "v"))
    await eventually(place.count, 16)
    assert await process.settled(17) == {"indexed": 16, "dead_lettered": 1}
    (letter,) = await place.dead_letters()
    headers = dict(letter.headers)
    assert (headers["dead-letter-stage"], headers["dead-letter-error"]) == (b"index", b"push_back_never_ends")
    assert "waiting: documents" not in await process.reasons()


async def block(place: Place, **blocks: bool) -> None:
    settings = {f"index.blocks.{name}": on for name, on in blocks.items()}
    await place.es.indices.put_settings(index=place.index, settings=settings)


@pytest.mark.parametrize("kind", ["write", "read_only", "read_only_allow_delete"])
async def test_a_blocked_index_is_waited_for(place: Place, indexer: Start, kind: str) -> None:
    process = await indexer().ready()
    await block(place, **{kind: True})
    await place.publish(events(100))

    async def retries() -> float:
        return await process.metric("retries_total")

    await eventually(retries, lambda found: found > 50)
    assert await process.outcomes() == {}
    assert (await process.get("/readyz"))[0] == 200
    await block(place, **{kind: False})
    assert await process.settled(100) == {"indexed": 100}
    assert await nothing_dead_lettered(place)


async def test_a_closed_index_needs_an_operator_and_is_gone_on_with_when_it_is_open(
    place: Place, indexer: Start
) -> None:
    process = await indexer().ready()
    await place.es.indices.close(index=place.index)
    await place.publish(events(60))
    assert "closed" in await eventually(process.reasons, lambda found: found.startswith("503"))
    assert (await process.get("/livez"))[0] == 200
    await place.es.indices.open(index=place.index)
    assert await process.settled(60) == {"indexed": 60}
    await process.ready()
    assert await nothing_dead_lettered(place)


async def test_an_index_that_was_deleted_is_made_again_with_its_mapping_and_alias(place: Place, indexer: Start) -> None:
    process = await indexer().ready()
    await place.publish(events(5))
    await process.settled(5)
    before = (await place.es.indices.get_mapping(index=place.index)).body
    await place.es.indices.delete(index=place.index)
    await place.publish([*events(5), *events(60, "u")])
    await process.settled(70)
    assert (await place.es.indices.get_mapping(index=place.index)).body == before
    assert {f"u{number}" for number in range(60)} <= (await place.documents()).keys()
    assert await nothing_dead_lettered(place)


async def make_index(place: Place) -> None:
    """As users make it who do not leave that to the indexer."""
    alias = {place.name: {"filter": NOT_DELETED}}
    await place.es.indices.create(
        index=place.index, aliases=alias, settings=settings(1, 0, "1s"), mappings={"dynamic": False}
    )


async def break_mapping(place: Place, *, broken: bool) -> None:
    """A field of another program, which refuses the test's events as long as it is broken."""
    await place.es.indices.put_mapping(
        index=place.index, properties={"note": {"type": "ip", "ignore_malformed": not broken}}
    )


async def test_an_index_that_may_not_be_made_is_asked_for(place: Place, indexer: Start) -> None:
    process = indexer(ELASTICSEARCH_CREATE_INDEX="false")
    await place.publish(events(30))
    reasons = await eventually(process.reasons, lambda found: "ELASTICSEARCH_CREATE_INDEX" in found)
    assert reasons.startswith("503")
    assert not await place.es.indices.exists(index=place.name)
    await make_index(place)
    await process.ready()
    assert await process.settled(30) == {"indexed": 30}
    await place.es.indices.delete(index=place.index)
    await place.publish(events(30, "u"))
    assert "ELASTICSEARCH_CREATE_INDEX" in await eventually(process.reasons, lambda found: found.startswith("503"))
    await make_index(place)
    await process.settled(60)
    assert (await place.documents()).keys() == {f"u{number}" for number in range(30)}
    assert await nothing_dead_lettered(place)


async def test_a_broken_mapping_stops_intake_instead_of_moving_the_topic_into_the_dead_letters(
    place: Place, indexer: Start
) -> None:
    process = await indexer(
        CONSUMER_BATCH_SIZE="10",
        CONSUMER_REQUEST_EVENTS="10",
        CONSUMER_BREAKER_MIN_FAILURES="30",
        CONSUMER_BREAKER_WINDOW="100",
        CONSUMER_BREAKER_RETRY_INTERVAL="6",
    ).ready()
    await break_mapping(place, broken=True)
    await place.publish([*events(400), event("poison", note="no address", metadata={"a": 1}), *events(100, "u")])
    reasons = await eventually(process.reasons, lambda found: "breaker" in found)
    assert reasons.startswith("503 breaker: ")
    assert "intake is stopped" in reasons
    assert (await process.get("/livez"))[0] == 200
    assert await process.metric("breaker_open") == 1
    stopped_at = await process.metric("events_consumed_total")
    few = len(await place.dead_letters())
    await asyncio.sleep(3)
    assert await process.metric("events_consumed_total") == stopped_at
    assert len(await place.dead_letters()) == few <= 30
    await break_mapping(place, broken=False)
    assert await process.settled(501) == {"indexed": 501 - few} | ({"dead_lettered": few} if few else {})
    await process.ready()
    assert await process.metric("breaker_open") == 0
    assert len(await place.dead_letters()) == few
    assert await place.count() == 501 - few


async def test_a_document_that_stays_bad_does_not_keep_intake_stopped_when_the_mapping_is_fixed(
    place: Place, indexer: Start
) -> None:
    process = await indexer(
        CONSUMER_BATCH_TIMEOUT="3", CONSUMER_BREAKER_MIN_FAILURES="20", CONSUMER_BREAKER_RETRY_INTERVAL="6"
    ).ready()
    await break_mapping(place, broken=True)
    poison = b'{"event_type":"transaction.created","timestamp":"%b","transaction":%b}' % (
        moment(0).encode(),
        (
            b'{"id":"p","user_id":"u","transaction_type":"card","status":"s","currency":"USD","amount":1,'
            b'"created_at":"2024-01-01T00:00:00Z","metadata":{"k":1,"k":2}}'
        ),
    )
    await place.publish([*events(25), poison, *events(24, "u")])
    await eventually(process.reasons, lambda found: "breaker" in found)
    await break_mapping(place, broken=False)
    assert await process.settled(50) == {"indexed": 49, "dead_lettered": 1}
    await process.ready()


BREAKER = {
    "CONSUMER_BATCH_SIZE": "10",
    "CONSUMER_REQUEST_EVENTS": "10",
    "CONSUMER_BREAKER_MIN_FAILURES": "30",
    "CONSUMER_BREAKER_WINDOW": "100",
    "CONSUMER_BREAKER_RETRY_INTERVAL": "1.5",
}


async def refusing_events(bulk: Bulk) -> Answer:
    """Refuse all events but not the trial document, as a mapping does that is broken for what the trial lacks."""
    refused = {name: (400, "document_parsing_exception") for name in bulk.ids if name.startswith("t")}
    return await bulk.with_items(refused)


async def test_events_that_are_refused_themselves_do_not_stop_intake_for_ever(
    place: Place, front: Front, indexer: Start
) -> None:
    """Neither a restart nor another setting is needed, and what comes after them is indexed."""
    front.rule = refusing_events
    process = await indexer(**BREAKER).ready()
    await place.publish(events(60))
    await eventually(process.reasons, lambda found: "breaker" in found)
    await place.publish(events(40, "u"))
    assert await process.settled(100) == {"indexed": 40, "dead_lettered": 60}
    await process.ready()
    assert await process.metric("breaker_open") == 0


async def test_invalid_events_never_stop_intake(place: Place, indexer: Start) -> None:
    process = await indexer(**BREAKER).ready()
    await place.publish([b"never valid"] * 300)
    await place.publish(events(10))
    assert await process.settled(310) == {"indexed": 10, "dead_lettered": 300}
    assert await process.metric("breaker_open") == 0
    assert (await process.get("/readyz"))[0] == 200
