"""Secured servers: the right secrets open them, wrong ones are reported, and none is ever shown."""

import asyncio
import base64
import json
import ssl
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest
from elasticsearch import AsyncElasticsearch
from fixtures.events import event
from fixtures.servers.indexer import Indexer
from fixtures.servers.place import Place, Servers
from fixtures.waiting import eventually

from activity_stack import StackError

pytestmark = pytest.mark.integration
Start = Callable[..., Indexer]
WRONG = "wr0ng-p4ssw0rd"


@pytest.fixture
def kafka_ssl(stack: Servers) -> dict[str, str]:
    return {
        "KAFKA_BOOTSTRAP_SERVERS": stack.environment["ACTIVITY_STACK_KAFKA_SSL"],
        "KAFKA_SECURITY_PROTOCOL": "SSL",
        "KAFKA_SSL_CA_FILE": stack.authority,
    }


@pytest.fixture
def kafka_sasl(stack: Servers) -> dict[str, str]:
    return {
        "KAFKA_BOOTSTRAP_SERVERS": stack.environment["ACTIVITY_STACK_KAFKA_SASL_SSL"],
        "KAFKA_SECURITY_PROTOCOL": "SASL_SSL",
        "KAFKA_SSL_CA_FILE": stack.authority,
        "KAFKA_SASL_USERNAME": stack.environment["ACTIVITY_STACK_KAFKA_USERNAME"],
        "KAFKA_SASL_PASSWORD": stack.environment["ACTIVITY_STACK_KAFKA_PASSWORD"],
    }


async def indexes(place: Place, process: Indexer) -> None:
    """It does its whole work: documents and dead letters."""
    await process.ready()
    await place.publish([event("a"), b"bad", event("b")])
    assert await process.settled(3) == {"indexed": 2, "dead_lettered": 1}
    assert len(await place.dead_letters()) == 1
    await eventually(place.lag, 0)


def shown(process: Indexer, *secrets: str) -> list[str]:
    """Those of the secrets that stand in the log, plain or as basic authentication has them."""
    text = process.log.read_text()
    forms = {form for secret in secrets for form in (secret, base64.b64encode(secret.encode()).decode())}
    return [form for form in forms if form in text]


# Kafka


async def test_kafka_over_tls(place: Place, indexer: Start, kafka_ssl: dict[str, str]) -> None:
    await indexes(place, indexer(**kafka_ssl))


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-512"])
async def test_kafka_over_tls_with_a_login(
    place: Place, indexer: Start, kafka_sasl: dict[str, str], mechanism: str
) -> None:
    audit = {"CONSUMER_ENABLE_AUDIT_DB": "true", "CONSUMER_LOG_LEVEL": "debug"}
    process = indexer(**kafka_sasl, **audit, KAFKA_SASL_MECHANISM=mechanism)
    await indexes(place, process)
    await eventually(lambda: place.lag(f"{place.group}.audit"), 0)
    assert process.terminate() == 0
    assert shown(process, kafka_sasl["KAFKA_SASL_PASSWORD"]) == []


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-512"])
async def test_a_wrong_kafka_password_is_reported(
    place: Place, indexer: Start, kafka_sasl: dict[str, str], mechanism: str
) -> None:
    process = indexer(
        **kafka_sasl | {"KAFKA_SASL_PASSWORD": WRONG}, KAFKA_SASL_MECHANISM=mechanism, CONSUMER_LOG_LEVEL="debug"
    )
    reasons = await eventually(process.reasons, lambda found: "kafka: " in found)
    assert reasons.startswith("503")
    assert "authentic" in reasons.lower()
    assert (await process.get("/livez"))[0] == 200
    assert process.terminate() == 0
    assert shown(process, WRONG) == []


async def test_a_kafka_certificate_that_is_not_trusted_is_reported(
    place: Place, indexer: Start, kafka_ssl: dict[str, str]
) -> None:
    untrusting = {name: value for name, value in kafka_ssl.items() if name != "KAFKA_SSL_CA_FILE"}
    process = indexer(**untrusting)
    reasons = await eventually(process.reasons, lambda found: "kafka: " in found)
    assert reasons.startswith("503")
    assert "certificate" in reasons.lower()


# Redis

PATIENT = {"REDIS_TIMEOUT": "2.5"}  # a first TLS handshake takes its time on a busy machine


async def test_redis_over_tls(place: Place, indexer: Start) -> None:
    environment = place.servers.environment
    redis = {
        "REDIS_URL": environment["ACTIVITY_STACK_REDIS_TLS_URL"],
        "REDIS_CA_FILE": place.servers.authority,
        **PATIENT,
    }
    process = await indexer(**redis).ready()
    await place.publish([event("a")])
    await process.settled(1)
    assert await process.metric("dependency_up", dependency="redis") == 1
    process.kill()
    other = await indexer(**redis).ready()
    await place.publish([event("a")])
    assert (await other.settled(1)).keys() == {"duplicate"}
    assert await other.metric("dedup_hits_total", level="redis") >= 1


async def test_redis_with_a_user_and_a_wrong_password(place: Place, indexer: Start) -> None:
    environment = place.servers.environment
    user, password = environment["ACTIVITY_STACK_REDIS_USERNAME"], environment["ACTIVITY_STACK_REDIS_PASSWORD"]
    host = environment["ACTIVITY_STACK_REDIS_TLS_URL"].removeprefix("rediss://")
    ca = {"REDIS_CA_FILE": place.servers.authority, "CONSUMER_LOG_LEVEL": "debug", **PATIENT}
    right = await indexer(REDIS_URL=f"rediss://{user}:{password}@{host}", **ca).ready()
    wrong = await indexer(
        REDIS_URL=f"rediss://{user}:{WRONG}@{host}", KAFKA_CONSUMER_GROUP=f"{place.name}-2", **ca
    ).ready()
    await place.publish([event("a")])
    await right.settled(1)
    await wrong.settled(1)
    assert await right.metric("dependency_up", dependency="redis") == 1
    assert await wrong.metric("dependency_up", dependency="redis") == 0
    (line,) = wrong.logged("redis.failed")
    assert "password" in line["reason"].lower()
    assert shown(right, password) == shown(wrong, WRONG) == []


# PostgreSQL


async def test_postgresql_over_tls(place: Place, indexer: Start) -> None:
    secured = place.servers.environment["ACTIVITY_STACK_DATABASE_TLS_URL"].partition("?")[0]
    process = indexer(
        CONSUMER_ENABLE_AUDIT_DB="true",
        CONSUMER_LOG_LEVEL="debug",
        DATABASE_URL=f"{secured}?search_path={place.database}",
        DATABASE_CA_FILE=place.servers.authority,
    )
    await indexes(place, process)

    async def audited() -> float:
        return await process.metric("audit_events_total", outcome="written")

    await eventually(audited, 2)
    assert [row[0] for row in await place.rows("SELECT id FROM transactions ORDER BY id")] == ["a", "b"]
    assert shown(process, str(urlsplit(secured).password) + "@") == []


async def test_a_wrong_postgresql_password_is_reported_and_stops_no_indexing(place: Place, indexer: Start) -> None:
    parts = urlsplit(place.database_url)
    url = urlunsplit(parts._replace(netloc=f"nobody:{WRONG}@{parts.hostname}:{parts.port}"))
    process = indexer(CONSUMER_ENABLE_AUDIT_DB="true", CONSUMER_LOG_LEVEL="debug", DATABASE_URL=url)
    await indexes(place, process)
    lines = await asyncio.to_thread(process.logged, "audit.paused")
    assert lines
    assert await process.metric("dependency_up", dependency="postgres") == 0
    assert shown(process, WRONG) == []


# Elasticsearch


@pytest.fixture(scope="module")
def secure(stack: Servers) -> Iterator[Servers]:
    """Elasticsearch with HTTPS and users."""
    try:
        stack.start("elasticsearch-secure")
    except StackError as error:
        pytest.fail(f"the secured Elasticsearch does not start: {error}")
    yield stack
    stack.stop("elasticsearch-secure")


@pytest.fixture
async def secure_place(secure: Servers) -> AsyncIterator[Place]:
    """A place whose index is in the secured Elasticsearch."""
    environment = secure.environment
    async with Place.on(secure) as place:
        await place.es.close()
        user = environment["ACTIVITY_STACK_ELASTICSEARCH_USERNAME"]
        password = environment["ACTIVITY_STACK_ELASTICSEARCH_PASSWORD"]
        url = environment["ACTIVITY_STACK_ELASTICSEARCH_SECURE_URL"]
        place.es = AsyncElasticsearch(url, basic_auth=(user, password), ca_certs=secure.authority)
        place.environment |= {
            "ELASTICSEARCH_URL": url,
            "ELASTICSEARCH_CA_FILE": secure.authority,
            "ELASTICSEARCH_USERNAME": user,
            "ELASTICSEARCH_PASSWORD": password,
            "CONSUMER_LOG_LEVEL": "debug",
        }
        yield place


def ask(place: Place, method: str, path: str, body: object) -> Any:
    """The answer of the secured Elasticsearch, as its administrator."""
    environment = place.environment
    login = f"{environment['ELASTICSEARCH_USERNAME']}:{environment['ELASTICSEARCH_PASSWORD']}".encode()
    request = urllib.request.Request(
        f"{environment['ELASTICSEARCH_URL']}{path}",
        json.dumps(body).encode(),
        {"Content-Type": "application/json", "Authorization": f"Basic {base64.b64encode(login).decode()}"},
        method=method,
    )
    context = ssl.create_default_context(cafile=place.servers.authority)
    with urllib.request.urlopen(request, timeout=30, context=context) as answer:
        return json.load(answer)


async def test_elasticsearch_with_https_and_a_user(secure_place: Place, start_on: Start) -> None:
    process = start_on(secure_place)
    await indexes(secure_place, process)
    assert (await secure_place.documents()).keys() == {"a", "b"}
    password = secure_place.environment["ELASTICSEARCH_PASSWORD"]
    assert shown(process, password, f"{secure_place.environment['ELASTICSEARCH_USERNAME']}:{password}") == []


async def test_elasticsearch_with_an_api_key_that_is_withdrawn_and_given_back(
    secure_place: Place, start_on: Start
) -> None:
    """A key that has ended halts the indexer, which loses nothing meanwhile."""
    key = await asyncio.to_thread(ask, secure_place, "POST", "/_security/api_key", {"name": secure_place.name})
    login = {"ELASTICSEARCH_USERNAME": "", "ELASTICSEARCH_PASSWORD": "", "ELASTICSEARCH_API_KEY": key["encoded"]}
    process = start_on(secure_place, **login, CONSUMER_SHUTDOWN_TIMEOUT="2")
    await indexes(secure_place, process)
    await asyncio.to_thread(ask, secure_place, "DELETE", "/_security/api_key", {"ids": [key["id"]]})
    await secure_place.publish([event("c"), event("d")])
    reasons = await eventually(process.reasons, lambda found: found.startswith("503"))
    assert "elasticsearch: security_exception" in reasons
    assert len(await secure_place.dead_letters()) == 1
    assert process.terminate() == 0
    assert shown(process, key["encoded"], key["api_key"]) == []
    with_the_user = await start_on(secure_place).ready()
    assert await with_the_user.settled(2) == {"indexed": 2}


async def test_a_wrong_elasticsearch_password_is_reported_and_nothing_is_lost(
    secure_place: Place, start_on: Start
) -> None:
    process = start_on(secure_place, ELASTICSEARCH_PASSWORD=WRONG)
    await secure_place.publish([event("a")])
    reasons = await eventually(process.reasons, lambda found: "elasticsearch: " in found)
    assert reasons.startswith("503")
    assert "401" in reasons
    assert (await process.get("/livez"))[0] == 200
    assert process.terminate() == 0
    assert shown(process, WRONG) == []
    right = await start_on(secure_place).ready()
    assert await right.settled(1) == {"indexed": 1}
