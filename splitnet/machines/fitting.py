"""A bundle as one device uses it: the plans worth pricing there, and the fused runs that pay."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from dataclasses import replace

from splitnet.bundle import Bundle, FusedRun
from splitnet.machines.agent_io import NOT_PREPARED
from splitnet.machines.expectations import Known
from splitnet.machines.options import OptionBook
from splitnet.machines.pruning import undominated
from splitnet.machines.runs import apart
from splitnet.machines.stage_times import StageTimes
from splitnet.policies.base import Policy
from splitnet.values import Option, OptionKind, Plan, Profile, fused_stage, segment_stage


def fitted(bundle: Bundle, policy: Policy, profile: Profile) -> Bundle:
    """Return `bundle` with the advice that this device needs; the contract stays.

    Plans that the policy never takes go, and so do those that a plan on the same path beats
    wherever the device has to choose. A plan on another path takes none away, however good it is:
    a worker of another bundle may serve the one and not the other. Of the fused runs those stay
    that the profile knows to be faster than their segments, and that hide no tensor from an exit
    or from a plan that can win while a worker serves all exact paths. One that can win only where
    it serves fewer finds the segments, which are then opened beside the fused run.

    Parameters
    ----------
    profile
        Of this device, or of one at least as fast: what is beaten there is beaten on a device
        that is slower in everything alike.

    Raises
    ------
    UnknownNameError
        The policy names a plan that the bundle does not have.
    """
    book = OptionBook(unfused(bundle), StageTimes(profile))
    policy.check(book.keys())
    book.keep(policy.considers)
    exact = {path.id for path in bundle.contract.paths if path.kind == "exact"}
    usable, winning = set[Plan](), set[Plan]()
    for boundary, known in _places(book):
        offload = [o for o in book.all_options(boundary, known) if o.kind is OptionKind.OFFLOAD]
        for path in {option.plan.path for option in offload}:
            usable.update(_unbeaten(offload, path, {path}))
            winning.update(_unbeaten(offload, path, {path, *exact}))
    plans = tuple(plan for plan in bundle.advice.plans if plan in usable)
    pays = [run for run in bundle.advice.fused if _pays(run, profile)]
    exits = {head.boundary for head in bundle.advice.heads}
    fused = apart(pays, exits | {book.cut(plan.path) for plan in winning})
    return replace(bundle, advice=replace(bundle.advice, plans=plans, fused=fused))


def unfused(bundle: Bundle) -> Bundle:
    """Return `bundle` for a device of which no profile tells whether fused runs pay."""
    return replace(bundle, advice=replace(bundle.advice, fused=()))


def _places(book: OptionBook) -> Iterator[tuple[int, Known]]:
    """Yield where a request has to choose: at admission, and behind exits that are not sure."""
    yield NOT_PREPARED, ()
    known: Known = ()
    for exit_id, head in book.heads.items():
        known = (*known, (exit_id, False))
        yield head.boundary, known


def _unbeaten(offload: Sequence[Option], path: str, rivals: Set[str]) -> set[Plan]:
    """Return the plans on `path` that none on `rivals` beats."""
    found = undominated([option for option in offload if option.plan.path in rivals])
    return {option.plan for option in found if option.plan.path == path}


def _pays(run: FusedRun, profile: Profile) -> bool:
    """Return whether the profile knows a fused run to be faster than its segments."""
    fused = fused_stage(run.first, run.stop)
    one_by_one = [segment_stage(index) for index in range(run.first, run.stop)]
    stages = profile.stages
    if not stages.keys() >= {fused, *one_by_one}:
        return False
    return stages[fused].p50_s < sum(stages[key].p50_s for key in one_by_one)
