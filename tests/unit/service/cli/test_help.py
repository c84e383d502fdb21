"""Every command explains itself: examples that can be parsed, and exit codes that exist."""

import re
import shlex
import subprocess
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from activity_common.exit_codes import Exit
from activity_indexer.cli import main
from activity_indexer.cli.completion import SHELLS
from activity_indexer.cli.lazy import Later


def loaded(group: click.Command, name: str) -> click.Command:
    assert isinstance(group, click.Group)
    command = group.commands[name]
    return command.load() if isinstance(command, Later) else command


def commands(group: click.Group = main, path: tuple[str, ...] = ()) -> Iterator[tuple[str, ...]]:
    yield path
    for name in group.commands:
        command = loaded(group, name)
        if isinstance(command, click.Group):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name)


ALL = pytest.mark.parametrize("path", list(commands()), ids=" ".join)


def help_of(path: tuple[str, ...]) -> str:
    found = CliRunner().invoke(main, [*path, "--help"])
    assert found.exit_code == 0, found.output
    return found.output


@ALL
def test_the_list_of_commands_shows_the_help_of_each(path: tuple[str, ...]) -> None:
    group: click.Command = main
    for name in path[:-1]:
        group = loaded(group, name)
    if path:
        assert isinstance(group, click.Group)
        listed = group.commands[path[-1]]
        assert listed.get_short_help_str(500) == loaded(group, path[-1]).get_short_help_str(500)
        assert listed.name == loaded(group, path[-1]).name


@ALL
def test_help_has_exit_codes_that_exist_once_and_in_order(path: tuple[str, ...]) -> None:
    codes = [
        int(code) for code in re.findall(r"^ {2,4}(\d)  \S", help_of(path).partition("Exit codes:")[2], re.MULTILINE)
    ]
    assert codes == sorted(set(codes))
    assert {Exit.DONE, Exit.WRONG_USAGE} <= set(codes) <= set(Exit)


@ALL
def test_help_has_examples_that_can_be_typed(path: tuple[str, ...]) -> None:
    examples = re.findall(r"^ +activity-indexer (.+)$", help_of(path).partition("Examples:")[2], re.MULTILINE)
    assert examples
    for example in examples:
        words = shlex.split(re.split(r" [|>] ", example)[0])
        command: click.Command = main
        while isinstance(command, click.Group):
            command = loaded(command, words.pop(0))
        options = {name for option in command.get_params(click.Context(command)) for name in option.opts}
        options |= {name for option in command.params for name in option.secondary_opts}
        assert {word for word in words if word.startswith("--")} <= options, example


@ALL
def test_every_option_is_explained(path: tuple[str, ...]) -> None:
    command: click.Command = main
    for name in path:
        command = loaded(command, name)
    assert [each.name for each in command.params if isinstance(each, click.Option) and not each.help] == []


@pytest.mark.parametrize("shell", SHELLS)
def test_completion_scripts_complete_this_program(shell: str) -> None:
    found = CliRunner().invoke(main, ["completion", shell])
    assert found.exit_code == 0
    assert "_ACTIVITY_INDEXER_COMPLETE" in found.output
    assert "activity-indexer" in found.output
    if shell == "bash":
        subprocess.run(["bash", "-n"], input=found.output, text=True, check=True)


def test_an_unknown_shell_is_wrong_usage() -> None:
    assert CliRunner().invoke(main, ["completion", "csh"]).exit_code == Exit.WRONG_USAGE


def test_commands_and_options_are_completed() -> None:
    def completed(words: str, at: int) -> str:
        variables = {"_ACTIVITY_INDEXER_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": str(at)}
        return CliRunner().invoke(main, [], prog_name="activity-indexer", env=variables).output

    assert {"plain,reconcile", "plain,reindex"} <= set(completed("activity-indexer re", 1).split())
    assert "plain,--repair" in completed("activity-indexer reconcile --re", 2).split()
    assert "plain,audit" in completed("activity-indexer reindex --from ", 3).split()
