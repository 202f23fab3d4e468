"""Run the command `scribe`, and convert errors to a message on stderr and an exit code."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import typer
from pydantic import ValidationError

from scribe.cli.commands import program
from scribe.cli.exits import INTERRUPTED, SOME_FAILED, UNREACHABLE, USAGE, report
from scribe.cli.failure import Failure, Unreachable
from scribe.cli.means import Here
from scribe.errors import InvalidInput, WorkerError
from scribe.settings import InvalidSettings

# The base class of click's errors, from typer's own copy of click or, on Python 3.10, from click itself.
ClickException: type[Exception] = typer.BadParameter.__mro__[2]


def main(arguments: Sequence[str] | None, here: Here) -> int:
    """Run the command and return its exit code. Errors are printed on stderr."""
    try:
        code: Any = program(args=arguments, prog_name="scribe", standalone_mode=False, obj=here)
        return int(code or 0)
    except InvalidInput as error:
        return report(USAGE, error.message)
    except WorkerError as error:
        return report(SOME_FAILED, f"{error.code}: {error.message}")
    except ValidationError as error:
        problems = error.errors(include_input=False)
        return report(USAGE, "; ".join(f"{str(p['loc'][0]).upper()}: {p['msg']}" for p in problems))
    except Unreachable as failure:
        return report(UNREACHABLE, f"{failure.code}: {failure.message}")
    except Failure as failure:
        return report(SOME_FAILED, f"{failure.code}: {failure.message}")
    except OSError as error:
        return report(USAGE, f"{error.strerror or type(error).__name__}: {error.filename or 'a file on this machine'}")
    except InvalidSettings as error:
        return report(USAGE, f"correct these variables:\n{error}")
    except (KeyboardInterrupt, typer.Abort):
        return INTERRUPTED
    except ClickException as error:
        return misused(error)


def misused(error: Any) -> int:
    """Print what is wrong with the command line, with the option that was likely meant, and return the exit code."""
    context = getattr(error, "ctx", None)
    if type(error).__name__ == "NoArgsIsHelpError":
        return USAGE  # typer has printed the help
    near = getattr(error, "possibilities", None)
    sentence = f"{error.message}; did you mean {near[0]}?" if near else error.format_message()
    path = context.command_path if context else "scribe"
    return report(USAGE, f"{sentence}\nTry '{path} --help'.")
