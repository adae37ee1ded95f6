"""What the errors of other libraries say, in one line."""

from __future__ import annotations


def first_line(error: BaseException) -> str:
    """Return the first line of a message, or the name of the error if it says nothing."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].strip()


def named_line(error: BaseException) -> str:
    """Return the name of an error and the first line of its message."""
    return f"{type(error).__name__}: {first_line(error)}"
