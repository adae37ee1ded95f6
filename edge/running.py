"""From the settings to a running agent: everything is checked before the first frame."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from itertools import islice
from typing import Any

from splitnet.devices import own_profile
from splitnet.edge.agent import EdgeAgent
from splitnet.edge.config import EdgeConfig
from splitnet.edge.connecting import Connector
from splitnet.edge.pace import Pace, frames_of
from splitnet.edge.reporting import Summary
from splitnet.edge.sources import Source, open_source, readable_sample
from splitnet.errors import ConfigError
from splitnet.machines.agent import AgentConfig, AgentMachine
from splitnet.machines.fitting import fitted, unfused
from splitnet.machines.link import LinkConfig
from splitnet.policies.making import make_policy
from splitnet.runtime.device import DeviceRuntime
from splitnet.runtime.directory import open_bundle
from splitnet.runtime.emulation import Emulation, make_stretcher, parse_emulation
from splitnet.runtime.reading import AnswerForm, answer_form
from splitnet.runtime.warmup import warm_up
from splitnet.transport.reactor import Reactor
from splitnet.values import TensorSpec


def run_edge(
    config: EdgeConfig,
    emit: Callable[[dict[str, Any]], None],
    notice: Callable[[str], None],
) -> Summary:
    """Answer the frames of the source, then emit the summary; SIGTERM and SIGINT drain.

    Raises
    ------
    SplitnetError
        The settings, the bundle or the samples cannot be used.
    """
    connector = Connector(config)
    emulated = (
        Emulation() if config.emulate_device is None else parse_emulation(config.emulate_device)
    )
    policy = make_policy(config.policy)
    source = open_source(config.source)
    bundle = open_bundle(config.bundle)
    _check_labels(source, bundle.contract.outputs[0], answer_form(bundle.contract))
    stretcher = make_stretcher(emulated, bundle.advice)
    known = own_profile(bundle.advice.profiles, config.device)
    bundle = unfused(bundle) if known is None else fitted(bundle, policy, known)
    runtime = DeviceRuntime(config.bundle, bundle, config.threads, stretcher)
    profile = warm_up(runtime, bundle, readable_sample(source))
    if known is not None:  # the warm-up leaves out what a fused run hides
        profile = replace(profile, stages={**known.stages, **profile.stages})
    shortfall = stretcher.shortfall()
    if shortfall is not None:
        notice(shortfall)
    machine = AgentMachine(bundle, profile, policy, _agent_config(config))
    _check_deadline(machine, config.deadline_ms)
    reactor = Reactor()
    try:
        frames = frames_of(source, config.repeat, config.limit)
        pace = Pace(frames, config.rate)
        paths = [bundle.contract.path_hash(path.id) for path in bundle.contract.paths]
        connect = connector.start(reactor, paths)
        agent = EdgeAgent(machine, runtime, pace, reactor, connect, emit, notice)
        with reactor.stop_signals(agent.stop):
            summary = agent.run()
    finally:
        reactor.close()
    emit({"summary": summary.to_json({**machine.counters, **connector.counters})})
    return summary


def _agent_config(config: EdgeConfig) -> AgentConfig:
    return AgentConfig(
        deadline_s=None if config.deadline_ms is None else config.deadline_ms / 1000,
        expiry_s=config.expiry_s,
        queue_frames=config.queue,
        max_inflight=config.max_inflight,
        link=LinkConfig(
            device=config.device,
            max_reply_bytes=config.max_reply_bytes,
            probe_budget_bps=config.probe_budget_bps,
        ),
    )


def _check_labels(source: Source, output: TensorSpec, form: AnswerForm) -> None:
    """Refuse a source with another number of labels a sample, or with labels out of range."""
    first = next(source.frames(), None)
    if first is None or first.truth is None:
        return
    if not form.labelled:
        raise ConfigError(
            f"--source {source.spec}: the data has labels, and the answers of this model are none; "
            "give samples without labels"
        )
    count = output.dims[1] if len(output.dims) == 3 else 1
    if isinstance(count, int) and len(first.truth) != count:
        raise ConfigError(
            f"--source {source.spec}: the model gives {count} labels a sample, the data has "
            f"{len(first.truth)}; give samples of this model, or without labels"
        )
    classes, labels = output.dims[-1], source.labels()
    if labels is None or not isinstance(classes, int):
        return
    if labels.max(initial=0) >= classes:
        row = int(labels.max(axis=1).argmax())
        frame = next(islice(source.frames(), row, None))
        raise ConfigError(
            f"--source {source.spec}: {frame.name} has the label {labels.max()}, the model knows "
            f"{classes} classes, 0 to {classes - 1}; correct it, or give samples without labels"
        )


def _check_deadline(machine: AgentMachine, deadline_ms: float | None) -> None:
    first_ms = 1000 * machine.first_answer_s
    if deadline_ms is not None and deadline_ms < first_ms:
        raise ConfigError(
            f"--deadline-ms {deadline_ms:g} is shorter than the first answer of this device takes "
            f"({first_ms:.1f} ms, 95th percentile of the warm-up): give it more time or a bundle "
            "with an earlier exit"
        )
