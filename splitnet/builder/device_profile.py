"""The profile of a device, measured there and stored in the advice of a bundle.

All stages are measured, or with ``samples`` only the most telling ones: the others are predicted
from the profile of another device. Nothing here imports torch or onnx.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from splitnet.builder.advice_file import update_advice, with_profile
from splitnet.builder.data import load_data
from splitnet.builder.execution import Execution, inputs_of
from splitnet.builder.golden import read_golden
from splitnet.builder.meters import EnergyMeter, FoundMeter, find_meter, peak_resident_bytes
from splitnet.builder.partial_profile import Measured, PartialProfile
from splitnet.builder.prediction import Predicted, StagePredictor
from splitnet.builder.profiling import (
    REFERENCE_RUNS,
    Job,
    batch_jobs,
    machine_facts,
    measure,
    reference_timer,
    single_jobs,
)
from splitnet.bundle import Advice, Bundle, Work
from splitnet.console import Progress
from splitnet.devices import named_profile
from splitnet.errors import ConfigError
from splitnet.runtime.directory import bundle_file, open_bundle, verify_graph
from splitnet.values import BatchTime, Energy, Profile, StageTime

BATCHES = (1, 2, 4, 8)
MAX_BATCH = 256
MAX_NAME = 64

LEAST_SAMPLES = 3
"""Fewer say nothing but one factor for the whole device."""

ENERGY_S = 0.3
"""A stage is repeated this long under an energy meter: a rail is read every few milliseconds."""

IDLE_S = 1.0


@dataclass(frozen=True, slots=True)
class ProfileConfig:
    """Which bundle to profile, under what name, and how thoroughly.

    Attributes
    ----------
    data
        Samples to measure preprocessing on; without them it is left out.
    batches
        Numbers of samples that segments are measured for.
    samples
        Measure only so many stages, predict the others; ``None`` measures all.
    reference
        Profile that predictions start from; ``None`` stands for the first of another device.
    """

    bundle: Path
    device: str
    data: str | None = None
    threads: int = 1
    batches: tuple[int, ...] = BATCHES
    samples: int | None = None
    reference: str | None = None

    def __post_init__(self) -> None:
        if not self.device.strip() or len(self.device) > MAX_NAME or not self.device.isprintable():
            raise ConfigError(
                f"--device is {self.device!r}, it must be a name of 1 to {MAX_NAME} characters"
            )
        if self.threads < 1:
            raise ConfigError(f"--threads is {self.threads}, must be at least 1")
        for batch in self.batches:
            if not 1 <= batch <= MAX_BATCH:
                raise ConfigError(f"--batches has {batch}, must be from 1 to {MAX_BATCH}")
        if self.samples is not None and self.samples < LEAST_SAMPLES:
            raise ConfigError(f"--samples is {self.samples}, must be at least {LEAST_SAMPLES}")
        if self.reference is not None and self.samples is None:
            raise ConfigError("--from is for predictions: give --samples too")


def profile_device(
    config: ProfileConfig,
    progress: Progress,
    meter: Callable[[], FoundMeter] = find_meter,
) -> dict[str, Any]:
    """Measure a bundle on this machine, store the profile in its advice, and describe it.

    Raises
    ------
    SplitnetError
        The bundle or the data cannot be used, or the advice not be written. What was measured is
        kept beside the bundle, and the same call goes on from there.
    """
    began_s = time.monotonic()
    bundle = open_bundle(config.bundle)
    work = bundle.advice.work or _make_work(config.bundle, bundle)
    advice = replace(bundle.advice, work=work)
    jobs = _jobs(config, bundle)
    predictor = None
    if config.samples is not None:
        predictor = StagePredictor(advice, _reference(config, advice))
        chosen = predictor.choose(config.samples, {job.stage for job in jobs})
        jobs = [job for stage in chosen for job in jobs if job.key == stage]
    session = _Session(config, bundle, meter(), progress)
    measured = session.run(jobs)
    predicted = None if predictor is None else predictor.predict(_stages(jobs, measured))
    profile = session.profile(jobs, measured, predicted)
    update_advice(config.bundle, lambda a: replace(with_profile(a, profile), work=a.work or work))
    session.partial.remove()
    summary = {
        "bundle": str(config.bundle),
        "resumed": session.resumed,
        "seconds": time.monotonic() - began_s,
    }
    return {**summary, **describe_profile(profile, predicted, session.energy_text)}


def describe_profile(
    profile: Profile, predicted: Predicted | None, energy_text: str
) -> dict[str, Any]:
    """Return a profile as a JSON object in milliseconds."""
    return {
        "device": profile.device,
        "facts": dict(profile.facts),
        "reference_ms": None if profile.reference_s is None else 1e3 * profile.reference_s,
        "peak_bytes": profile.peak_bytes,
        "energy": energy_text,
        "predicted": None
        if predicted is None
        else {"measured": sorted(predicted.measured), "error": predicted.error},
        "stages": [
            {
                "stage": stage,
                "p50_ms": 1e3 * found.p50_s,
                "p95_ms": 1e3 * found.p95_s,
                "mj": None if profile.energy is None else _mj(profile.energy, stage),
                "measured": predicted is None or stage in predicted.measured,
            }
            for stage, found in profile.stages.items()
        ],
        "batches": [
            {
                "stage": entry.stage,
                "batch": entry.batch,
                "p50_ms": 1e3 * entry.time.p50_s,
                "p95_ms": 1e3 * entry.time.p95_s,
            }
            for entry in profile.batches
        ],
    }


class _Session:
    """One run of the measurement, which may go on where another one ended."""

    def __init__(
        self, config: ProfileConfig, bundle: Bundle, found: FoundMeter, progress: Progress
    ) -> None:
        self._config = config
        self._progress = progress
        self._meter = found.meter
        self.energy_text = found.text
        settings = {
            "contract": bundle.contract.sha256,
            "threads": config.threads,
            "data": config.data,
            "facts": machine_facts(config.threads),
            "energy": found.text,
        }
        self.partial = PartialProfile(config.bundle, config.device, settings)
        self.resumed = 0
        # Every graph is open and has run by now; the reference network is no part of the bundle.
        self._peak_bytes = peak_resident_bytes()
        self._reference = reference_timer(config.threads)
        self._idle_w = 0.0

    def run(self, jobs: Sequence[Job]) -> dict[str, Measured]:
        """Measure what has not been measured yet."""
        done = self.partial.jobs
        self.resumed = sum(job.key in done for job in jobs)
        if self._meter is not None:
            self._idle_w = _idle_w(self._meter)
        self._progress.step(f"measuring {self._config.bundle} as {self._config.device}", len(jobs))
        for job in jobs:
            if job.key not in done:
                self.partial.add(job.key, self._measure(job))
                if self._reference is not None:
                    self._reference.run(REFERENCE_RUNS)
            self._progress.advance(1, job.key)
        return {job.key: done[job.key] for job in jobs}

    def profile(
        self, jobs: Sequence[Job], measured: dict[str, Measured], predicted: Predicted | None
    ) -> Profile:
        """Return what was measured as a profile."""
        facts = machine_facts(self._config.threads) | {"energy": self.energy_text}
        if predicted is not None:
            facts["predicted"] = (
                f"{len(predicted.measured)} of {len(predicted.stages)} stages measured, the others "
                f"predicted with a typical error of {predicted.error:.0%}"
            )
        joules = {
            job.stage: m.joules
            for job in jobs
            if job.batch == 1 and (m := measured[job.key]).joules is not None
        }
        if self._reference is not None and self.resumed == len(jobs):
            self._reference.run(REFERENCE_RUNS)
        return Profile(
            device=self._config.device,
            stages=_stages(jobs, measured) if predicted is None else predicted.stages,
            facts=facts,
            reference_s=None if self._reference is None else self._reference.time_s,
            batches=tuple(
                BatchTime(job.stage, job.batch, measured[job.key].time)
                for job in jobs
                if job.batch > 1
            ),
            energy=None
            if self._meter is None
            else Energy(self._meter.source, self._meter.rail, self._idle_w, joules),
            peak_bytes=self._peak_bytes,
        )

    def _measure(self, job: Job) -> Measured:
        found = measure(job.run)
        if self._meter is None or job.batch > 1:
            return Measured(found)
        return Measured(found, _joules(self._meter, job.run))


def _jobs(config: ProfileConfig, bundle: Bundle) -> list[Job]:
    contract, advice = bundle.contract, bundle.advice
    if config.data is None:
        sample = None
        verify_graph(config.bundle, advice.golden, set())
        golden = read_golden(bundle_file(config.bundle, advice.golden.file))
        inputs = [array[:1] for array in golden.inputs]
    else:
        data = load_data(config.data, "test")
        sample, inputs = data.sample(0), inputs_of(contract, data, [0])
    single = Execution(config.bundle, contract, config.threads, batch=1)
    jobs = list(single_jobs(single, advice.heads, advice.fused, inputs, sample))
    several = [batch for batch in dict.fromkeys(config.batches) if batch > 1]
    if several and config.samples is None:
        jobs += batch_jobs(Execution(config.bundle, contract, config.threads), inputs, several)
    return jobs


def _reference(config: ProfileConfig, advice: Advice) -> Profile:
    """Return the profile to predict from: that of another device."""
    others = [profile for profile in advice.profiles if profile.device != config.device]
    return named_profile(others, config.reference)


def _make_work(directory: Path, bundle: Bundle) -> dict[str, Work]:
    """Return the static features of a bundle that was built without them, if onnx is here."""
    if find_spec("onnx") is None:
        return {}
    from splitnet.builder.static_work import stage_work

    advice = bundle.advice
    return stage_work(directory, bundle.contract, advice.heads, advice.fused)


def _stages(jobs: Sequence[Job], measured: dict[str, Measured]) -> dict[str, StageTime]:
    return {job.stage: measured[job.key].time for job in jobs if job.batch == 1}


def _idle_w(meter: EnergyMeter) -> float:
    began_s = time.perf_counter()
    meter.start()
    while time.perf_counter() - began_s < IDLE_S:
        time.sleep(IDLE_S / 100)
        meter.poll()
    return meter.stop() / (time.perf_counter() - began_s)


def _joules(meter: EnergyMeter, stage: Callable[[], object]) -> float:
    """Return the energy of one run, from many."""
    began_s, runs = time.perf_counter(), 0
    meter.start()
    while not runs or time.perf_counter() - began_s < ENERGY_S:
        stage()
        meter.poll()
        runs += 1
    return meter.stop() / runs


def _mj(energy: Energy, stage: str) -> float | None:
    joules = energy.stages_j.get(stage)
    return None if joules is None else 1e3 * joules
