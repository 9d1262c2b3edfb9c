"""What commands share: errors in one line, exit status, verbs on runs."""

from __future__ import annotations

import getpass
import os
import sys
from argparse import ArgumentParser, ArgumentTypeError
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from typing import Any, TextIO

from django.core.management.base import BaseCommand, CommandError
from django.db import DatabaseError, connections

from django_workflow.conf import overridden, settings
from django_workflow.core.actors import Actor
from django_workflow.core.anywhere import get_run
from django_workflow.core.exceptions import RunStateError, WorkflowError
from django_workflow.management.output import RUN_COLUMNS, Screen, run_as_json, run_row
from django_workflow.models import Run

#: Exit status.
FAILED, USAGE, UNFINISHED = 1, 2, 3


class WorkflowCommand(BaseCommand):
    """A command whose errors are one line without a traceback, and whose exit status tells.

    0: done; 1: the state of a run or of the engine forbids it; 2: used wrongly; 3: not finished in time.
    """

    # A run must be seen and stopped even where a check has something to say; `manage.py check` says it.
    requires_system_checks = ()
    #: Whether it can be carried out on another database than the journal's.
    takes_database = False
    as_json: bool

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> Any:
        """Make the parser, with ``--database`` where that makes sense."""
        parser = super().create_parser(prog_name, subcommand, **kwargs)
        if self.takes_database:
            parser.add_argument(
                "--database",
                metavar="ALIAS",
                help='The alias of the database; WORKFLOW["DATABASE"] unless given.',
            )
        return parser

    def handle(self, *args: Any, **options: Any) -> None:
        """Carry the command out, and turn our errors into the command line's."""
        self.as_json = bool(options.get("json"))
        _check_texts(options)
        try:
            with _on(options.pop("database", None)):
                self.carry_out(**options)
            stream_of(self.stdout).flush()
        except BrokenPipeError:
            # Who reads has seen enough, as head has. What is still buffered goes nowhere, without a word.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        except KeyboardInterrupt:
            raise CommandError(
                "Interrupted; what was done is done.", returncode=UNFINISHED
            ) from None
        except RunStateError as error:
            raise CommandError(str(error), returncode=FAILED) from error
        except WorkflowError as error:
            raise CommandError(str(error), returncode=USAGE) from error
        except DatabaseError as error:
            raise CommandError(
                f'The database "{settings().DATABASE}" did not answer: {error}. If it is new, run manage.py migrate.',
                returncode=FAILED,
            ) from error

    def carry_out(self, *args: Any, **options: Any) -> None:
        """Do the command's work."""
        raise NotImplementedError

    @property
    def screen(self) -> Screen:
        """Where the command prints."""
        return Screen(stream_of(self.stdout))

    @property
    def aside(self) -> Screen:
        """Where the command says what is no part of its output."""
        return Screen(stream_of(self.stderr))


@contextmanager
def _on(alias: str | None) -> Iterator[None]:
    """Take another database for the journal's, while the command is carried out."""
    if alias is not None and alias not in connections.settings:
        known = ", ".join(sorted(connections.settings))
        raise CommandError(f'There is no database "{alias}". Known: {known}.', returncode=USAGE)
    with ExitStack() as stack:
        if alias is not None and alias != settings().DATABASE:
            stack.enter_context(overridden(DATABASE=alias))
        yield


def _check_texts(options: Mapping[str, Any]) -> None:
    """Refuse bytes that are no text, which the shell hands over as they are and no database takes."""
    for name, value in options.items():
        for text in value if isinstance(value, list) else [value]:
            if not isinstance(text, str):
                continue
            try:
                text.encode()
            except UnicodeEncodeError:
                raise CommandError(
                    f"{name} is no text: {text!r} is not in UTF-8.", returncode=USAGE
                ) from None
            if "\x00" in text:
                raise CommandError(f"{name} holds a NUL character.", returncode=USAGE)


def whole(least: int, most: int) -> Callable[[str], int]:
    """Return what reads a whole number of an option, within limits."""

    def read(text: str) -> int:
        if (
            not (text.isascii() and text.isdecimal())
            or len(text) > 12
            or not least <= int(text) <= most
        ):
            raise ArgumentTypeError(
                f"must be a whole number from {least} to {most:,}, not {text[:40]!r}"
            )
        return int(text)

    return read


def operator() -> Actor:
    """Return who typed the command: the user of the operating system."""
    try:
        name = getpass.getuser()
    except (KeyError, OSError, ImportError):
        # A container's user may have no name.
        name = "manage.py"
    return Actor(name, door="command")


def stream_of(wrapper: Any) -> TextIO:
    """Return the stream behind a command's ``stdout`` or ``stderr``."""
    # Django's wrapper adds a line end to whatever is written, which rich writes in parts.
    stream: TextIO = getattr(wrapper, "_out", wrapper)
    return stream


def add_json(parser: ArgumentParser) -> None:
    """Add ``--json``."""
    parser.add_argument("--json", action="store_true", help="Print JSON.")


class VerbCommand(WorkflowCommand):
    """A verb on runs given by their ids: each is tried, each is told."""

    takes_database = True
    verb: str
    done: str
    how_many = "+"

    def add_arguments(self, parser: ArgumentParser) -> None:
        """Take ids, a reason, and how to print."""
        parser.add_argument("run_ids", nargs=self.how_many, metavar="ID", help="The ID of a run.")
        parser.add_argument("--why", default="", help="The reason, which is kept with the run.")
        add_json(parser)

    def carry_out(self, *args: Any, run_ids: list[str], **options: Any) -> None:
        """Do the verb to each run."""
        finished, refusals = [], []
        for run_id in run_ids:
            try:
                finished.append((run_id, self.do(get_run(run_id), **options)))
            except WorkflowError as error:
                refusals.append(error)
        self._tell(finished)
        if refusals:
            is_state = all(isinstance(error, RunStateError) for error in refusals)
            raise CommandError(
                "\n".join(map(str, refusals)), returncode=FAILED if is_state else USAGE
            )

    def _tell(self, finished: list[tuple[str, Run]]) -> None:
        if self.as_json:
            self.screen.json([run_as_json(run, with_steps=False) for _, run in finished])
            return
        for run_id, run in finished:
            self.screen.lines([self.told(run_id, run)])

    def told(self, run_id: str, run: Run) -> str:
        """Return the line that tells what was done."""
        return f"Run {run_id} was {self.done}; it is {run.status}."

    def do(self, run: Run, *, why: str, **options: Any) -> Run:
        """Do the verb to one run and return it."""
        changed: Run = getattr(run, self.verb)(actor=operator(), why=why)
        return changed


def print_runs(command: WorkflowCommand, runs: list[Run]) -> None:
    """Print a list of runs, as JSON or as a table."""
    if command.as_json:
        command.screen.json([run_as_json(run, with_steps=False) for run in runs])
    else:
        command.screen.table(RUN_COLUMNS, [run_row(run) for run in runs])
