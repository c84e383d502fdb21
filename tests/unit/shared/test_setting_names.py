"""Settings have the same names in all three programs."""

from activity_common import setting_names
from activity_indexer.settings import KafkaSettings, declared


def test_each_name_is_one_of_a_setting_of_the_indexer() -> None:
    names = {name: value for name, value in vars(setting_names).items() if name.isupper()}
    assert all(name == value for name, value in names.items())
    assert set(names) - {variable for _, _, variable, _ in declared()} == set()


def test_topics_follow_from_the_source_topic() -> None:
    kafka = KafkaSettings(transactions_topic="orders")
    assert (kafka.dead_letters, kafka.parked) == ("orders.dlq", "orders.dlq.parked")
