"""A bundle in memory: contract, advice and sample table, read together and checked as one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass

from splitnet.bundle.advice import Advice
from splitnet.bundle.contract import Contract
from splitnet.bundle.json_form import parse
from splitnet.bundle.sample_table import SampleTable
from splitnet.errors import BundleError
from splitnet.values import plan_key


@dataclass(frozen=True, slots=True)
class Bundle:
    """Contract, advice and sample table that belong together.

    Raises
    ------
    BundleError
        The advice or the table does not fit the contract; the message says what is missing.
    """

    contract: Contract
    advice: Advice
    table: SampleTable

    def __post_init__(self) -> None:
        self.advice.check_against(self.contract)
        for head in self.advice.heads:
            if head.id not in self.table.exits:
                raise BundleError(f"the sample table has no rows for the exit {head.id!r}")
        for path in self.contract.paths:
            for level in range(len(path.levels)):
                if (path.id, level) not in self.table.paths:
                    key = plan_key(path.id, level)
                    raise BundleError(f"the sample table has no rows for {key!r}")
        for i, plan in enumerate(self.advice.plans):
            parts = len(self.table.parts.get((plan.path, plan.level), ()))
            if plan.stops and len(plan.stops) != parts:
                raise BundleError(
                    f"advice.json: plans[{i}].stops: are {len(plan.stops)}, the sample table has "
                    f"rows of {parts} parts besides all of {plan_key(plan.path, plan.level)!r}"
                )


def load_bundle(read: Callable[[str], bytes]) -> Bundle:
    """Return the bundle whose files `read` gives by name.

    The hashes of contract and sample table are verified here; graphs and shards are verified by
    whoever opens them.

    Parameters
    ----------
    read
        Returns the bytes of the file of that name, or raises `OSError`.

    Raises
    ------
    BundleError
        A file is missing, damaged, of another version, or does not fit the others.
    """
    contract = Contract.from_json(parse(_read(read, "contract.json"), "contract.json"))
    advice = Advice.from_json(parse(_read(read, "advice.json"), "advice.json"))
    name = advice.sample_table.file
    table = _read(read, name)
    found = hashlib.sha256(table).hexdigest()
    if found != advice.sample_table.sha256:
        raise BundleError(
            f"{name} has the hash {found[:12]}, advice.json says "
            f"{advice.sample_table.sha256[:12]}; the file is damaged or of another build"
        )
    return Bundle(contract, advice, SampleTable.from_bytes(table))


def _read(read: Callable[[str], bytes], name: str) -> bytes:
    try:
        return read(name)
    except OSError as error:
        reason = error.strerror or error
        raise BundleError(f"cannot read {name} of the bundle: {reason}") from error
