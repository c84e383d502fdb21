"""Settings from the environment."""

import os
import re
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import SecretStr

from activity_indexer.adapters.redis.client import RedisClient
from activity_indexer.errors import SettingsError
from activity_indexer.redis_url import PATTERN
from activity_indexer.setting_values import shown
from activity_indexer.settings import SECTIONS, ElasticsearchSettings, declared, load_settings, unknown_variables

PREFIXES = tuple(str(section.model_config["env_prefix"]) for section in SECTIONS)


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    for name in [name for name in os.environ if name.upper().startswith(PREFIXES)]:
        monkeypatch.delenv(name)
    return monkeypatch


def given_values(environment: pytest.MonkeyPatch, **variables: str) -> None:
    for name, value in variables.items():
        environment.setenv(name, value)


def refusal() -> list[str]:
    with pytest.raises(SettingsError) as refused:
        load_settings()
    return str(refused.value).splitlines()


def test_the_defaults_are_the_guides() -> None:
    loaded = load_settings()
    found = {
        name: shown(getattr(getattr(loaded, name.partition("_")[0].lower()), field)) for _, field, name, _ in declared()
    }
    guide = {
        "KAFKA_BOOTSTRAP_SERVERS": "kafka:9093",
        "KAFKA_TRANSACTIONS_TOPIC": "transactions",
        "KAFKA_CONSUMER_GROUP": "transaction_indexer",
        "ELASTICSEARCH_URL": "http://elasticsearch:9200",
        "REDIS_URL": "redis://redis:6379/0",
        "DATABASE_URL": "postgresql://astropay:********@postgres:5432/activity_feed",
        "CONSUMER_BATCH_SIZE": "10",
        "CONSUMER_BATCH_TIMEOUT": "5.0",
        "CONSUMER_ENABLE_AUDIT_DB": "True",
        "CONSUMER_MAX_RETRIES": "3",
        "CONSUMER_DEDUP_TTL": "86400.0",
    }
    assert {name: found[name] for name in guide} == guide
    assert loaded.database.url.get_secret_value() == "postgresql://astropay:astropay@postgres:5432/activity_feed"


def section_of(name: str) -> object:
    return getattr(load_settings(), name.partition("_")[0].lower())


def test_the_dead_letter_topic_and_the_audits_group_follow_their_origin(environment: pytest.MonkeyPatch) -> None:
    assert load_settings().kafka.dead_letters == "transactions.dlq"
    assert load_settings().kafka.audit_group == "transaction_indexer.audit"
    given_values(environment, KAFKA_TRANSACTIONS_TOPIC="t", KAFKA_CONSUMER_GROUP="g")
    assert (load_settings().kafka.dead_letters, load_settings().kafka.audit_group) == ("t.dlq", "g.audit")
    given_values(environment, KAFKA_DEAD_LETTER_TOPIC="x")
    assert load_settings().kafka.dead_letters == "x"


def test_variables_take_the_defaults_place(environment: pytest.MonkeyPatch) -> None:
    given_values(
        environment,
        CONSUMER_BATCH_SIZE="500",
        CONSUMER_BATCH_TIMEOUT="0.25",
        CONSUMER_ENABLE_AUDIT_DB="false",
        ELASTICSEARCH_URL="https://a:9200, https://b:9200",
    )
    found = load_settings()
    assert (found.consumer.batch_size, found.consumer.batch_timeout) == (500, 0.25)
    assert found.consumer.enable_audit_db is False
    assert found.elasticsearch.hosts == ["https://a:9200", "https://b:9200"]


def test_an_empty_variable_counts_as_absent(environment: pytest.MonkeyPatch) -> None:
    given_values(environment, **{name: "" for _, _, name, _ in declared()})
    assert load_settings().consumer.batch_size == 10
    assert load_settings().kafka.bootstrap_servers == "kafka:9093"


def test_every_error_is_reported_at_once_with_variable_value_and_wish(environment: pytest.MonkeyPatch) -> None:
    given_values(
        environment,
        KAFKA_BOOTSTRAP_SERVERS="kafka",
        KAFKA_SECURITY_PROTOCOL="TLS",
        ELASTICSEARCH_URL="elasticsearch:9200",
        ELASTICSEARCH_INDEX="Transactions",
        REDIS_URL="http://redis",
        DATABASE_URL="mysql://x",
        DATABASE_CA_FILE="/does/not/exist",
        CONSUMER_BATCH_SIZE="ten",
        CONSUMER_BATCH_TIMEOUT="-1",
        CONSUMER_ENABLE_AUDIT_DB="perhaps",
        CONSUMER_BREAKER_THRESHOLD="2",
    )
    lines = refusal()
    assert [line.partition(":")[0] for line in lines] == [
        "KAFKA_BOOTSTRAP_SERVERS",
        "KAFKA_SECURITY_PROTOCOL",
        "ELASTICSEARCH_URL",
        "ELASTICSEARCH_INDEX",
        "REDIS_URL",
        "DATABASE_URL",
        "DATABASE_CA_FILE",
        "CONSUMER_BATCH_SIZE",
        "CONSUMER_BATCH_TIMEOUT",
        "CONSUMER_ENABLE_AUDIT_DB",
        "CONSUMER_BREAKER_THRESHOLD",
    ]
    assert "expected host:port, or several separated by commas, got 'kafka'" in lines[0]
    assert "got 'TLS'" in lines[1]
    assert "http:// or https://" in lines[2]
    assert "there is no such file, got '/does/not/exist'" in lines[6]
    assert "got 'ten'. Events with which a batch is full and can be sent." in lines[7]
    assert "greater than 0, got '-1'" in lines[8]


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "0", "", "5s"])
def test_a_time_is_a_number_above_zero(environment: pytest.MonkeyPatch, value: str) -> None:
    given_values(environment, CONSUMER_BATCH_TIMEOUT=value)
    if not value:
        assert load_settings().consumer.batch_timeout == 5.0
        return
    assert refusal()[0].startswith("CONSUMER_BATCH_TIMEOUT: ")


@pytest.mark.parametrize(
    "value", ["kafka", "kafka:", ":9092", "kafka:x", "kafka:0", "kafka:70000", "a:1,,b:2", "a:1,b"]
)
def test_bad_brokers_are_refused(environment: pytest.MonkeyPatch, value: str) -> None:
    given_values(environment, KAFKA_BOOTSTRAP_SERVERS=value)
    assert f"got {value!r}" in refusal()[0]


@pytest.mark.parametrize("value", ["kafka:9092", "a:1, b:2", "[::1]:9092", "10.0.0.1:9092"])
def test_good_brokers_are_taken(environment: pytest.MonkeyPatch, value: str) -> None:
    given_values(environment, KAFKA_BOOTSTRAP_SERVERS=value)
    assert load_settings().kafka.bootstrap_servers == value


SECRETS = {
    "ELASTICSEARCH_URL": ["elastic:hunter2@host:9200", "ftp://elastic:hunter2@host", "http://elastic:x/hunter2@host"],
    "REDIS_URL": [
        "redis//:hunter2@redis",
        "redis://:hun/hunter2@redis:6379",
        "redis://u:#hunter2@redis",
        "redis://u:1/hunter2@r",
        "redis://u:?hunter2@r",
        "hunter2",
    ],
    "DATABASE_URL": [
        "postgres:hunter2",
        "postgresql://user:hunter2/x@host:5432/db",
        "postgresql://user:x?hunter2@host/db",
        "postgresql://user:hunter2℀@host/db",
        "postgresql://user:hunter2@host:port/db",
        "postgresql://user:hunter2@[::1/db",
    ],
}


@pytest.mark.parametrize(("name", "value"), [(name, value) for name, values in SECRETS.items() for value in values])
def test_a_bad_url_is_refused_without_a_word_of_its_password(
    environment: pytest.MonkeyPatch, name: str, value: str
) -> None:
    given_values(environment, **{name: value})
    (line,) = refusal()
    assert line.startswith(f"{name}: expected a URL")
    assert "a value that is not shown" in line
    assert "hunter2" not in line
    assert "hun" not in line


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://a:9200,", "an empty one"),
        ("http://a:9200,,http://b:9200", "an empty one"),
        ("http://a:9200,https://b:9200", "got both"),
        ("http://a:9200/?pretty=true", "without a query"),
        ("http://a:0", "a port from 1 to 65535"),
        ("http://a:65536", "a port from 1 to 65535"),
        ("a:9200", "begins with http:// or https://"),
        ("http://a:9200,b:9200", "begins with http:// or https://"),
        ("http://u:p@a:9200,http://v:p@b:9200", "one user and password"),
    ],
)
def test_a_url_of_elasticsearch_that_cannot_be_used_is_refused_by_name(
    environment: pytest.MonkeyPatch, url: str, expected: str
) -> None:
    given_values(environment, ELASTICSEARCH_URL=url)
    (line,) = refusal()
    assert line.startswith("ELASTICSEARCH_URL: expected ")
    assert expected in line


@pytest.mark.parametrize(
    "url",
    ["http://a", "https://a", "http://a:9200/es/prefix/", "http://u:p@a:9200", " http://a:9200 , http://b:9200 "],
)
def test_a_url_of_elasticsearch_that_can_be_used_is_taken_here_and_by_the_chart(
    environment: pytest.MonkeyPatch, url: str
) -> None:
    given_values(environment, ELASTICSEARCH_URL=url)
    assert load_settings().elasticsearch.hosts == [each.strip() for each in url.split(",")]
    pattern = ElasticsearchSettings.model_json_schema()["properties"]["url"]["pattern"]
    assert re.search(pattern, url)
    assert not re.search(pattern, url + ",")
    assert not re.search(pattern, url + ", ftp://b")


@pytest.mark.parametrize("more", [{"ELASTICSEARCH_USERNAME": "v"}, {"ELASTICSEARCH_API_KEY": "k"}])
def test_a_user_is_set_in_one_place(environment: pytest.MonkeyPatch, more: dict[str, str]) -> None:
    given_values(environment, ELASTICSEARCH_URL="http://u:p@a:9200", **more)
    assert "one of them" in refusal()[0]


SECRET = st.text(st.characters(codec="ascii", exclude_characters="\0"), min_size=6).filter(str.strip)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(SECRET.map("S3CR3T".__add__), st.sampled_from(["redis://u:{}@h:1/0", "redis://{}", "redis://h:{}", "{}"]))
def test_no_password_is_ever_shown_well_formed_or_not(environment: pytest.MonkeyPatch, secret: str, form: str) -> None:
    given_values(environment, REDIS_URL=form.format(secret))
    reported = ""
    try:
        reported = shown(load_settings().redis.url) if "@" in form else ""
    except SettingsError as error:
        reported = str(error)
    assert "s3cr3t" not in reported.lower()


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("redis://:hunter2@redis:6379/0", "redis://:********@redis:6379/0"),
        ("https://u:hunter2@a:9200,https://b:9200", "https://u:********@a:9200,https://b:9200"),
        ("postgresql://u:hunt:er2@h/db?sslmode=require", "postgresql://u:********@h/db?sslmode=require"),
        ("postgresql://h/db?user=u&password=hunter2", "postgresql://h/db?user=u&password=********"),
        ("postgresql://h/db?sslpassword=hunter2&port=1", "postgresql://h/db?sslpassword=********&port=1"),
        ("postgresql://u:hun,ter2@a:1,b:2/db", "postgresql://u:********@a:1,b:2/db"),
        ("http://elasticsearch:9200", "http://elasticsearch:9200"),
    ],
)
def test_urls_are_shown_without_their_passwords(environment: pytest.MonkeyPatch, url: str, expected: str) -> None:
    name = {"redis": "REDIS_URL", "http": "ELASTICSEARCH_URL", "https": "ELASTICSEARCH_URL"}.get(
        url.partition(":")[0], "DATABASE_URL"
    )
    given_values(environment, **{name: url})
    assert shown(getattr(section_of(name), "url")) == expected  # noqa: B009 - a section is any object here


@pytest.mark.parametrize(
    "url",
    [
        "redis://redis",
        "redis://redis:6379/",
        "redis://:p%2Fw@redis:6379/15",
        "redis://[::1]:6379/1?client_name=a&health_check_interval=30&protocol=3&socket_keepalive=true",
        "redis://redis?db=3",
        "redis://redis/3?db=3",
        "rediss://u:pw@redis:6380/0?ssl_cert_reqs=none&ssl_check_hostname=false&ssl_ca_certs=/ca.pem",
    ],
)
async def test_what_a_redis_url_may_say_is_what_the_client_takes(environment: pytest.MonkeyPatch, url: str) -> None:
    given_values(environment, REDIS_URL=url)
    RedisClient(load_settings().redis)
    assert re.fullmatch(PATTERN, url)


@pytest.mark.parametrize(
    ("url", "reported"),
    [
        ("redis://redis/cache", "path is '/cache'"),
        ("redis://redis/1/2", "path is '/1/2'"),
        ("redis://redis/-1", "path is '/-1'"),
        ("redis://redis?ssl=true", "option ssl is not known; known ones are client_name, db,"),
        ("redis://redis?ssl_cert_reqs=none", "option ssl_cert_reqs needs rediss://"),
        ("redis://redis?socket_timeout=5", "option socket_timeout is set by REDIS_TIMEOUT"),
        ("redis://redis?protocol=4", "option protocol expects one of 2, 3"),
        ("redis://redis?db=a", "option db expects a number"),
        ("redis://redis?db", "option db expects a number"),
        ("redis://redis/1?db=2", "named twice"),
        ("redis://a:6379,redis://b:6379", "several servers"),
        ("rediss://redis?ssl_cert_reqs=maybe", "option ssl_cert_reqs expects one of required, optional, none"),
    ],
)
def test_what_a_redis_url_may_not_say_is_refused_by_name(
    environment: pytest.MonkeyPatch, url: str, reported: str
) -> None:
    given_values(environment, REDIS_URL=url)
    (line,) = refusal()
    assert line.startswith("REDIS_URL: ")
    assert reported in line
    if "path" in reported or "not known" in reported or "set by" in reported or "several" in reported:
        assert not re.fullmatch(PATTERN, url)


def test_other_secrets_are_shown_as_given_or_not(environment: pytest.MonkeyPatch) -> None:
    assert shown(load_settings().elasticsearch.password) == ""
    assert shown(SecretStr("redis://h?PASSWORD=hunter2&db=1")) == "redis://h?PASSWORD=********&db=1"
    given_values(environment, ELASTICSEARCH_PASSWORD="hunter2")
    assert shown(load_settings().elasticsearch.password) == "********"
    assert "hunter2" not in repr(load_settings().elasticsearch)
    assert shown(None) == ""


def test_sasl_needs_a_user_and_a_password(environment: pytest.MonkeyPatch) -> None:
    given_values(environment, KAFKA_SECURITY_PROTOCOL="SASL_SSL", KAFKA_SASL_USERNAME="u")
    assert "KAFKA_SASL_PASSWORD" in refusal()[0]
    given_values(environment, KAFKA_SASL_PASSWORD="hunter2")
    assert load_settings().kafka.sasl_username == "u"


def test_elasticsearch_takes_one_login(environment: pytest.MonkeyPatch) -> None:
    given_values(environment, ELASTICSEARCH_API_KEY="hunter2", ELASTICSEARCH_USERNAME="u")
    (line,) = refusal()
    assert "ELASTICSEARCH_API_KEY or ELASTICSEARCH_USERNAME" in line
    assert "hunter2" not in line


def test_the_end_must_fit_into_a_rebalance(environment: pytest.MonkeyPatch) -> None:
    given_values(environment, CONSUMER_SHUTDOWN_TIMEOUT="60", KAFKA_REBALANCE_TIMEOUT="60")
    assert refusal() == ["KAFKA_REBALANCE_TIMEOUT: must be above CONSUMER_SHUTDOWN_TIMEOUT (60), got 60"]


def test_the_memory_budget_holds_the_largest_records(environment: pytest.MonkeyPatch) -> None:
    given_values(environment, CONSUMER_MEMORY_BUDGET="134217728")
    (line,) = refusal()
    assert "CONSUMER_MEMORY_BUDGET: must be at least 16 times KAFKA_MAX_RECORD_BYTES (268435456)" in line
    given_values(environment, KAFKA_MAX_RECORD_BYTES="8388608")
    assert load_settings().consumer.memory.budget == 128 * 1024 * 1024


def test_files_must_exist(environment: pytest.MonkeyPatch, tmp_path: Path) -> None:
    given_values(environment, ELASTICSEARCH_CA_FILE=str(tmp_path))
    assert "there is no such file" in refusal()[0]
    (tmp_path / "ca.pem").touch()
    given_values(environment, ELASTICSEARCH_CA_FILE=str(tmp_path / "ca.pem"))
    assert load_settings().elasticsearch.ca_file == tmp_path / "ca.pem"


def test_every_setting_is_named_once_and_explained() -> None:
    names = [name for _, _, name, _ in declared()]
    assert len(names) == len(set(names))
    assert all(info.description and info.description.endswith(".") for _, _, _, info in declared())
    assert all(name.startswith(PREFIXES) for name in names)


def test_settings_do_not_change() -> None:
    with pytest.raises(ValueError, match="frozen"):
        load_settings().consumer.batch_size = 3


def test_a_variable_that_resembles_a_setting_is_reported() -> None:
    environ = {"CONSUMER_BATCHSIZE": "1", "KAFKA_PORT": "tcp://10.0.0.1:9092", "CONSUMER_BATCH_SIZE": "1", "PATH": "x"}
    assert list(unknown_variables(environ)) == [("CONSUMER_BATCHSIZE", "CONSUMER_BATCH_SIZE")]


@pytest.mark.parametrize("value", ["my topic", "a,b", "x" * 250, "tx*", ".", "..", "ünïcode", "a/b", "a:b"])
@pytest.mark.parametrize(
    "name", ["KAFKA_TRANSACTIONS_TOPIC", "KAFKA_DEAD_LETTER_TOPIC", "KAFKA_PARKED_TOPIC", "KAFKA_GROUP_INSTANCE_ID"]
)
def test_a_name_that_kafka_refuses_is_refused_at_the_start(
    environment: pytest.MonkeyPatch, name: str, value: str
) -> None:
    given_values(environment, **{name: value})
    (line,) = refusal()
    assert line.startswith(f"{name}: expected a name of")


@pytest.mark.parametrize("value", ["transactions", "a.b_c-D1", "...", "..a", ".a", "x" * 238])
def test_a_name_that_kafka_takes_is_taken(environment: pytest.MonkeyPatch, value: str) -> None:
    given_values(environment, KAFKA_TRANSACTIONS_TOPIC=value)
    assert load_settings().kafka.transactions_topic == value


@pytest.mark.parametrize(
    ("variables", "named"),
    [
        ({"KAFKA_DEAD_LETTER_TOPIC": "transactions"}, {"KAFKA_DEAD_LETTER_TOPIC", "KAFKA_TRANSACTIONS_TOPIC"}),
        ({"KAFKA_PARKED_TOPIC": "transactions"}, {"KAFKA_PARKED_TOPIC", "KAFKA_TRANSACTIONS_TOPIC"}),
        ({"KAFKA_PARKED_TOPIC": "transactions.dlq"}, {"KAFKA_PARKED_TOPIC", "KAFKA_DEAD_LETTER_TOPIC"}),
        (
            {"KAFKA_TRANSACTIONS_TOPIC": "x.parked", "KAFKA_DEAD_LETTER_TOPIC": "x"},
            {"KAFKA_PARKED_TOPIC", "KAFKA_TRANSACTIONS_TOPIC"},
        ),
    ],
)
def test_a_topic_has_one_use(environment: pytest.MonkeyPatch, variables: dict[str, str], named: set[str]) -> None:
    given_values(environment, **variables)
    (line,) = refusal()
    assert all(name in line for name in named)
    assert "dead letters would be read again" in line


def test_a_derived_name_that_is_too_long_is_refused(environment: pytest.MonkeyPatch) -> None:
    given_values(environment, KAFKA_TRANSACTIONS_TOPIC="x" * 240)
    (line,) = refusal()
    assert line.startswith("KAFKA_PARKED_TOPIC: expected a name of at most 249 characters, this one has 251")
    given_values(environment, KAFKA_PARKED_TOPIC="parked")
    assert load_settings().kafka.parked == "parked"


def test_timeouts_of_the_group_fit_together(environment: pytest.MonkeyPatch) -> None:
    given_values(environment, KAFKA_SESSION_TIMEOUT="90", KAFKA_HEARTBEAT_INTERVAL="31", KAFKA_REQUEST_TIMEOUT="0.5")
    assert refusal() == [
        "KAFKA_HEARTBEAT_INTERVAL: must be at most a third of KAFKA_SESSION_TIMEOUT (90), got 31",
        "KAFKA_SESSION_TIMEOUT: must be at most KAFKA_REBALANCE_TIMEOUT (60), got 90",
        "KAFKA_REQUEST_TIMEOUT: must be above 0.5, for which a broker may wait with the answer to a fetch, got 0.5",
    ]
