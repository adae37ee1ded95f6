"""The frame of every command: options, exit codes, logging, tables and progress.

Exit codes: 0 ok, 1 failed, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import argparse
import json
import logging
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NoReturn, Protocol

from splitnet.config import nearest
from splitnet.errors import ConfigError, SplitnetError, one_line
from splitnet.registry import missing_module

EXIT_OK, EXIT_FAILED, EXIT_USAGE = 0, 1, 2
EXIT_INTERRUPTED = 130
"""128 + SIGINT, what a shell reports for an interrupted program."""


class Parser(argparse.ArgumentParser):
    """An argument parser that never guesses and names the nearest option for an unknown one."""

    def __init__(self, **options: Any) -> None:
        options.setdefault("formatter_class", argparse.RawDescriptionHelpFormatter)
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        """Print one line and leave with the usage exit code."""
        unknown = re.fullmatch(r"unrecognized arguments: (\S+).*", message, re.DOTALL)
        if unknown:
            name = unknown[1].partition("=")[0]
            message = f"unknown option {name}{nearest(name, self._option_string_actions)}"
        self.exit(EXIT_USAGE, f"{self.prog}: error: {message}; see {self.prog} --help\n")

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parse `args`; an unknown option is reported by the parser of the sub-command."""
        known, rest = self.parse_known_args(args, namespace)
        if rest:
            getattr(known, "parser", self).error(f"unrecognized arguments: {' '.join(rest)}")
        return known


def run(command: Callable[[], int | None], *, json_errors: bool = False) -> int:
    """Run a command's body and turn what it raises into one line and an exit code."""
    try:
        return command() or EXIT_OK
    except ConfigError as error:
        return _fail(error, EXIT_USAGE, json_errors)
    except SplitnetError as error:
        return _fail(error, EXIT_FAILED, json_errors)
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] == "splitnet":
            raise
        return _fail(ConfigError(missing_module("this command", error)), EXIT_FAILED, json_errors)
    except BrokenPipeError:
        # The reader of our output left; there is nobody to tell.
        _discard_output()
        return EXIT_FAILED
    except KeyboardInterrupt:
        return EXIT_INTERRUPTED


def _discard_output() -> None:
    """Let what stdout still holds go nowhere, or the interpreter fails on it when it ends."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def _fail(error: Exception, code: int, as_json: bool) -> int:
    line = one_line(error)
    if as_json:
        sys.stdout.write(json.dumps({"error": line, "kind": type(error).__name__}) + "\n")
    sys.stderr.write(f"error: {line}\n")
    return code


def setup_logging(verbose: int) -> None:
    """Send log records to stderr; only the main function of a command calls this."""
    level = (logging.WARNING, logging.INFO, logging.DEBUG)[min(verbose, 2)]
    logging.basicConfig(
        level=level, stream=sys.stderr, format="%(asctime)s %(levelname)s %(name)s %(message)s"
    )


def emit_json(value: Any) -> None:
    """Write one JSON line to stdout and flush it (raises as `say` does)."""
    say(json.dumps(value, separators=(",", ":")))


def say(line: str) -> None:
    """Write one line to stdout and flush it.

    Raises
    ------
    SplitnetError
        It cannot be written, for instance because the disk is full.
    """
    with _writing():
        sys.stdout.write(f"{line}\n")


@contextmanager
def _writing() -> Iterator[None]:
    """Flush what the block writes to stdout; one clear error if it cannot be written."""
    try:
        yield
        sys.stdout.flush()
    except BrokenPipeError:
        raise
    except OSError as error:
        _discard_output()
        raise SplitnetError(f"cannot write the answers: {error.strerror}") from error


def print_table(title: str, header: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Show a table to a person (raises as `say` does)."""
    from rich.console import Console
    from rich.table import Table

    table = Table(title=title, title_justify="left")
    for index, name in enumerate(header):
        table.add_column(name, justify="left" if index == 0 else "right", overflow="fold")
    for row in rows:
        table.add_row(*(str(cell) for cell in row))
    with _writing():
        Console().print(table)


class Progress(Protocol):
    """Where long work reports how far it is."""

    def step(self, text: str, total: float | None = None) -> None:
        """Begin a step of `total` units (unknown if ``None``) described by `text`."""

    def advance(self, units: float = 1, note: str = "") -> None:
        """Report `units` more of the current step, with a short note such as the loss."""


class Silent:
    """A `Progress` that shows nothing."""

    def step(self, text: str, total: float | None = None) -> None:
        """Ignore the step."""

    def advance(self, units: float = 1, note: str = "") -> None:
        """Ignore the units."""


@contextmanager
def progress(enabled: bool = True) -> Iterator[Progress]:
    """Show progress on stderr: a live bar on a terminal, a line a step elsewhere."""
    if not enabled:
        yield Silent()
        return
    from rich.console import Console
    from rich.progress import BarColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
    from rich.progress import Progress as Bars

    console = Console(stderr=True)
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Bars(*columns, console=console, disable=not console.is_terminal) as bars:
        yield _Bars(bars, console)


class _Bars:
    def __init__(self, bars: Any, console: Any) -> None:
        self._bars = bars
        self._console = console
        self._task: Any = None

    def step(self, text: str, total: float | None = None) -> None:
        self._finish()
        if not self._console.is_terminal:
            self._console.print(text, highlight=False)
        self._task = self._bars.add_task(text, total=total, note="")

    def advance(self, units: float = 1, note: str = "") -> None:
        if self._task is not None:
            self._bars.update(self._task, advance=units, note=note)

    def _finish(self) -> None:
        if self._task is not None:
            total = self._bars.tasks[self._task].total or 1
            self._bars.update(self._task, total=total, completed=total)
