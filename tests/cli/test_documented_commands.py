"""Every `scribe` command that a page shows is one: its sub-command, options and number of arguments are accepted."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator

import pytest
import typer.main
from support.pages import TEXTS, blocks

from scribe.cli.commands import program


def documented() -> Iterator[str]:
    """The commands of the shell examples, without what stands before or after them in a pipe."""
    for text in TEXTS.values():
        script = re.sub(r"\\\n\s*", " ", "\n".join(blocks(text, "bash")))
        for line in script.splitlines():
            yield from (part.strip() for part in line.split("|") if re.match(r"\s*([A-Z_]+=\S+ )*scribe ", part))


COMMANDS = sorted(set(documented()))


def test_the_pages_show_every_sub_command() -> None:
    shown = {re.sub(r"^([A-Z_]+=\S+ )*", "", command).split()[1] for command in COMMANDS}
    assert set(typer.main.get_command(program).commands) <= shown


@pytest.mark.parametrize("command", COMMANDS)
def test_a_command_that_is_shown_is_accepted(command: str) -> None:
    words = shlex.split(command, comments=True)
    name, *arguments = words[words.index("scribe") + 1 :]
    group = typer.main.get_command(program)
    if name.startswith("-"):
        context = typer.Context(group, info_name="scribe")
        assert name in {flag for option in group.get_params(context) for flag in option.opts}
    else:
        group.commands[name].make_context(name, [re.sub(r">.*", "", word) for word in arguments])
