"""A bundle as one device uses it: the plans worth pricing there, and the fused runs that pay."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

from splitnet.bundle import Bundle, FusedRun
from splitnet.machines.agent_io import NOT_PREPARED
from splitnet.machines.expectations import Known
from splitnet.machines.options import OptionBook
from splitnet.machines.pruning import undominated
from splitnet.machines.runs import usable_runs
from splitnet.machines.stage_times import StageTimes
from splitnet.policies.base import Policy
from splitnet.values import OptionKind, Plan, Profile, fused_stage, segment_stage


def fitted(bundle: Bundle, policy: Policy, profile: Profile) -> Bundle:
    """Return `bundle` with the advice that this device needs; the contract stays.

    Plans that the policy never takes go, and so do those that a plan on the same path or on an
    exact one beats wherever the device has to choose. A learned path beats no other here: a worker
    may serve another version of it, or none. Of the fused runs those stay that the profile knows
    to be faster than their segments, and that hide no tensor from a plan or an exit.

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
    book = OptionBook(bundle, StageTimes(profile))
    policy.check(book.keys())
    book.keep(policy.considers)
    kept = {plan for known in _places(book) for plan in _worth_pricing(bundle, book, *known)}
    plans = tuple(plan for plan in bundle.advice.plans if plan in kept)
    pays = tuple(run for run in bundle.advice.fused if _pays(run, profile))
    active = replace(bundle, advice=replace(bundle.advice, plans=plans, fused=pays))
    return replace(active, advice=replace(active.advice, fused=usable_runs(active)))


def _places(book: OptionBook) -> Iterator[tuple[int, Known]]:
    """Yield where a request has to choose: at admission, and behind exits that are not sure."""
    yield NOT_PREPARED, ()
    known: Known = ()
    for exit_id, head in book.exits.items():
        known = (*known, (exit_id, False))
        yield head.boundary, known


def _worth_pricing(bundle: Bundle, book: OptionBook, boundary: int, known: Known) -> Iterator[Plan]:
    offload = [o for o in book.all_options(boundary, known) if o.kind is OptionKind.OFFLOAD]
    exact = {path.id for path in bundle.contract.paths if path.kind == "exact"}
    for path in {option.plan.path for option in offload}:
        rivals = [o for o in offload if o.plan.path == path or o.plan.path in exact]
        yield from (option.plan for option in undominated(rivals) if option.plan.path == path)


def _pays(run: FusedRun, profile: Profile) -> bool:
    """Return whether the profile knows a fused run to be faster than its segments."""
    fused = fused_stage(run.first, run.stop)
    apart = [segment_stage(index) for index in range(run.first, run.stop)]
    stages = profile.stages
    if not stages.keys() >= {fused, *apart}:
        return False
    return stages[fused].p50_s < sum(stages[key].p50_s for key in apart)
