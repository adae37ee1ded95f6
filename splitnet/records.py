"""Values that are made with every event: frozen for the type checker, plain at run time.

A frozen dataclass sets each field through `object.__setattr__`, which makes it three times as slow
to create as a plain one (0.49 against 0.14 us with 4 fields). That is nothing for a contract or a
plan, but a request makes some fifty events, actions and decisions on its way, and it was a fifth of
the simulator's time. The rule: what is created with every event and not kept by others is a record;
every other value is a frozen dataclass.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from dataclasses import dataclass as record
else:
    from dataclasses import dataclass

    def record(*, frozen: bool, slots: bool) -> object:
        """Return the decorator of a dataclass that has a hash and is not really frozen."""
        return dataclass(slots=slots, unsafe_hash=frozen)


__all__ = ["record"]
