from dataclasses import astuple
from pathlib import Path

import pytest

from activity_stack.errors import StackError
from activity_stack.settings import Ports, load_settings


def test_without_settings_everything_lies_in_the_repository() -> None:
    settings = load_settings(environ={})
    repository = Path(__file__).resolve().parents[3]
    assert (settings.home, settings.dist) == (repository / ".stack", repository / ".stack" / "dist")


def test_an_instance_elsewhere_shares_the_downloads(tmp_path: Path) -> None:
    assert load_settings(tmp_path, environ={}).dist == load_settings(environ={}).dist


def test_the_home_can_be_moved_with_its_downloads(tmp_path: Path) -> None:
    settings = load_settings(environ={"ACTIVITY_STACK_HOME": str(tmp_path)})
    assert (settings.home, settings.dist) == (tmp_path, tmp_path / "dist")


def test_a_port_can_be_set_alone_beside_an_offset() -> None:
    environ = {"ACTIVITY_STACK_PORT_OFFSET": "1000", "ACTIVITY_STACK_REDIS_PORT": "7000"}
    settings = load_settings(environ=environ)
    assert (settings.ports.redis, settings.ports.kafka) == (7000, Ports().kafka + 1000)
    assert settings.explicit_ports


def test_a_limit_can_be_set() -> None:
    assert load_settings(environ={"ACTIVITY_STACK_START_TIMEOUT": "7"}).limits.start_timeout == 7


def test_a_port_that_is_no_number_is_refused_by_name() -> None:
    with pytest.raises(StackError, match="ACTIVITY_STACK_KAFKA_PORT='many'"):
        load_settings(environ={"ACTIVITY_STACK_KAFKA_PORT": "many"})


@pytest.mark.parametrize("hundreds", range(1, 30))
def test_instances_hundreds_of_ports_apart_do_not_collide(hundreds: int) -> None:
    assert not set(astuple(Ports())) & set(astuple(Ports().moved(100 * hundreds)))


@pytest.mark.parametrize(("value", "used"), [("0", False), ("no", False), ("1", True), ("", True)])
def test_the_machines_servers_can_be_left_alone(value: str, *, used: bool) -> None:
    assert load_settings(environ={"ACTIVITY_STACK_SYSTEM": value} if value else {}).use_system is used
