"""The build: from a model and data to a bundle directory that appears whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from splitnet.builder.assembly import (
    INPUT_PATH,
    LEARNED_PATH,
    make_contract,
    make_plans,
    stage_costs,
)
from splitnet.builder.boundaries import MAX_BOUNDARIES, Choice, choose_boundaries
from splitnet.builder.cuts import Cut, find_cuts, input_bytes
from splitnet.builder.data import Dataset, Roles, load_roles
from splitnet.builder.execution import Execution, inputs_of, prepare_row
from splitnet.builder.forms import (
    RANDOM,
    InputForm,
    known_forms,
    parse_form,
    random_roles,
)
from splitnet.builder.fusing import fused_heads, keep_fused
from splitnet.builder.golden import GOLDEN_FILE, golden_bytes, make_golden
from splitnet.builder.inspection import describe
from splitnet.builder.learning import Learned, Learner
from splitnet.builder.model import SourceModel, load_model
from splitnet.builder.places import AUTO, NONE, choose_places
from splitnet.builder.profiling import profile_bundle
from splitnet.builder.resume import Steps, begin_again, forget_steps, has_steps
from splitnet.builder.segments import Exported, export_segments
from splitnet.builder.static_work import stage_work
from splitnet.builder.tables import make_table
from splitnet.builder.training import Schedule, torch_threads
from splitnet.builder.verification import verify_bundle
from splitnet.bundle import Advice, Bundle, Contract, GraphRef
from splitnet.bundle.contract_checks import RESERVED_PATH
from splitnet.console import Progress
from splitnet.errors import BundleError, ConfigError, ModelError, SplitnetError
from splitnet.runtime.preprocess import default_steps, parse_steps
from splitnet.values import TensorSpec

CONTRACT_FILE, ADVICE_FILE, TABLE_FILE = "contract.json", "advice.json", "sample_table.npz"
GOLDEN_SAMPLES = 8
PROFILE_THREADS = 1
"""A device computes one request at a time, and its other cores have other work."""


@dataclass(frozen=True, slots=True)
class BuildConfig:
    """What to build, from what, and where.

    Attributes
    ----------
    model, data, calib, test
        Specifications of the model and of the data (see `load_model`, `load_data`).
    input
        Forms of the inputs (see `parse_form`), for random data and for dynamic sizes.
    cuts
        Names of the interior boundaries; empty asks for an automatic choice.
    exit_at, bottleneck_at
        Cut of the early exit and of the bottleneck, ``auto`` or ``none``.
    preprocess
        Text form of the steps; ``None`` takes those that fit the samples' dtype.
    epochs, train_seconds
        Bounds on each of the two trainings.
    exit_loss
        Part of the score on calibration data that the exit may lose.
    threads
        Threads of torch while it trains (see `torch_threads`).
    """

    model: str
    data: str
    out: Path
    calib: str | None = None
    test: str | None = None
    input: tuple[str, ...] = ()
    cuts: tuple[str, ...] = ()
    exit_at: str = AUTO
    bottleneck_at: str = AUTO
    max_boundaries: int = MAX_BOUNDARIES
    preprocess: str | None = None
    seed: int = 0
    force: bool = False
    epochs: int = 6
    train_seconds: float = 120.0
    exit_loss: float = 0.005
    threads: int = 1

    def __post_init__(self) -> None:
        for name, least in (("max_boundaries", 1), ("epochs", 1), ("seed", 0), ("threads", 1)):
            if getattr(self, name) < least:
                flag = "--" + name.replace("_", "-")
                raise ConfigError(f"{flag} is {getattr(self, name)}, must be at least {least}")
        if not self.train_seconds > 0:
            raise ConfigError(f"--train-seconds is {self.train_seconds:g}, must be above 0")
        if not 0 <= self.exit_loss <= 1:
            raise ConfigError(f"--exit-loss is {self.exit_loss:g}, must be from 0 to 1")


def build(config: BuildConfig, progress: Progress) -> dict[str, Any]:
    """Build the bundle and return what `describe` says of it, with notes and seconds.

    Raises
    ------
    SplitnetError
        Anything about model, data or place is not as needed; nothing is left at ``config.out``.
    """
    began_s = time.monotonic()
    with _new_directory(config.out, config.force) as folder, torch_threads(config.threads):
        bundle, notes = _Builder(config, folder, progress).run()
    summary = {"out": str(config.out), "notes": notes, "seconds": time.monotonic() - began_s}
    return {**summary, **describe(bundle)}


class _Builder:
    def __init__(self, config: BuildConfig, folder: Path, progress: Progress) -> None:
        self._config = config
        self._folder = folder
        self._progress = progress

    def run(self) -> tuple[Bundle, list[str]]:
        config, progress = self._config, self._progress
        forms = [parse_form(text) for text in config.input]
        roles = self._roles(forms)
        steps = self._steps(roles.training)
        axes = [form.names for form in forms]
        model = load_model(config.model, prepare_row(roles.training, 0, steps), axes)
        for data in (roles.training, roles.calibration, roles.test):
            check_labels(data, model.graph.outputs[0])
        progress.step("cutting the model")
        cuts = find_cuts(model.graph)
        choices = self._choose(cuts, input_bytes(model.graph))
        names = path_names(choices)
        exported = export_segments(
            model,
            [choice.cut for choice in choices],
            self._folder,
            fused_heads(len(choices) + 1),
        )
        places = choose_places(choices, cuts, *self._learned_at())
        plain = make_contract(model.name, steps, exported, names)
        learned = Learner(
            self._execution(plain),
            exported,
            self._folder,
            names,
            Schedule(config.epochs, config.train_seconds, seed=config.seed),
            config.exit_loss,
            progress,
            Steps(self._folder, self._depends(plain, roles, choices)),
        ).learn(roles, places)
        contract = make_contract(model.name, steps, exported, names, learned.bottleneck)
        bundle = self._document(contract, exported, learned, model, roles)
        self._prove()
        return bundle, [*roles.notes, *places.notes, *learned.notes]

    def _depends(self, contract: Contract, roles: Roles, choices: tuple[Choice, ...]) -> object:
        """Return what the learned parts depend on, as JSON."""
        config = self._config
        samples = hashlib.sha256()
        for data in (roles.training, roles.calibration):
            for row in {0, len(data) - 1}:
                samples.update(np.ascontiguousarray(data.load(row)).tobytes())
            samples.update(b"" if data.y is None else data.y.tobytes())
        sizes = [len(data) for data in (roles.training, roles.calibration)]
        return [
            [contract.sha256, [choice.name for choice in choices], samples.hexdigest(), sizes],
            [config.data, config.calib, config.seed, config.exit_at, config.bottleneck_at],
            [config.epochs, config.train_seconds, config.exit_loss],
        ]

    def _roles(self, forms: Sequence[InputForm]) -> Roles:
        config = self._config
        if config.data.partition(":")[0] == RANDOM:
            return random_roles(config.data, known_forms(config.model, forms), config.seed)
        return load_roles(config.data, config.calib, config.test, config.seed)

    def _learned_at(self) -> tuple[str, str]:
        """Return where exit and bottleneck stand; nothing is learned of random samples."""
        config = self._config
        if config.data.partition(":")[0] != RANDOM:
            return config.exit_at, config.bottleneck_at
        exit_at, bottleneck_at = (
            NONE if at == AUTO else at for at in (config.exit_at, config.bottleneck_at)
        )
        return exit_at, bottleneck_at

    def _steps(self, data: Dataset) -> tuple[Any, ...]:
        if self._config.preprocess is not None:
            return parse_steps(self._config.preprocess)
        if self._config.data.partition(":")[0] == RANDOM:
            return ()
        return default_steps(data.load(0).dtype.name)

    def _choose(self, cuts: tuple[Cut, ...], size: int) -> tuple[Choice, ...]:
        named = (self._config.exit_at, self._config.bottleneck_at)
        must = [name for name in named if name not in (AUTO, NONE)]
        return choose_boundaries(
            cuts, self._config.cuts or None, must, self._config.max_boundaries, size
        )

    def _execution(self, contract: Contract) -> Execution:
        return Execution(self._folder, contract, threads=os.cpu_count() or 1)

    def _document(
        self,
        contract: Contract,
        exported: Exported,
        learned: Learned,
        model: SourceModel,
        roles: Roles,
    ) -> Bundle:
        """Measure everything and write all that is not a graph."""
        execution = self._execution(contract)
        table = make_table(execution, learned.exits, roles.test, self._progress)
        rows = range(min(GOLDEN_SAMPLES, len(roles.test)))
        inputs = inputs_of(contract, roles.test, rows)
        golden = make_golden(execution, learned.exits, inputs, model.reference)
        single = Execution(self._folder, contract, PROFILE_THREADS, batch=1)
        profile = profile_bundle(single, learned.exits, roles.test, PROFILE_THREADS, self._progress)
        fused = keep_fused(
            exported.fused, single, profile, roles.test, self._folder, self._progress
        )
        costs, flops = stage_costs(contract, exported, learned.exit_files, learned.bottleneck)
        advice = Advice(
            contract_sha256=contract.sha256,
            exits=learned.exits,
            plans=make_plans(contract, learned.exits),
            profiles=(profile,),
            costs=costs,
            sample_table=self._write(TABLE_FILE, table.to_bytes()),
            golden=self._write(GOLDEN_FILE, golden_bytes(golden)),
            roles=self._origin(roles),
            flops=flops,
            fused=fused,
            work=stage_work(self._folder, contract, learned.exits, fused),
        )
        self._write(CONTRACT_FILE, _json(contract.to_json()))
        self._write(ADVICE_FILE, _json(advice.to_json()))
        return Bundle(contract, advice, table)

    def _origin(self, roles: Roles) -> dict[str, Any]:
        sets = {"training": roles.training, "calibration": roles.calibration, "test": roles.test}
        origin: dict[str, Any] = {
            role: {"source": data.source, "samples": len(data)} for role, data in sets.items()
        }
        truth = "labels" if roles.test.y is not None else "answers of the whole model"
        return {**origin, "seed": self._config.seed, "truth": truth, "notes": list(roles.notes)}

    def _write(self, name: str, content: bytes) -> GraphRef:
        (self._folder / name).write_bytes(content)
        return GraphRef(name, hashlib.sha256(content).hexdigest())

    def _prove(self) -> None:
        report = verify_bundle(self._folder, None, self._progress)
        if not report.ok:
            raise ModelError(f"the bundle does not compute what the model does: {report.failure()}")


def path_names(choices: tuple[Choice, ...]) -> tuple[str, ...]:
    """Return the names of the exact paths; a name that is taken gives way to the id of its cut."""
    taken = {INPUT_PATH, LEARNED_PATH, RESERVED_PATH}
    return tuple(c.cut.id if c.name in taken else c.name for c in choices)


def check_labels(data: Dataset, output: TensorSpec) -> None:
    """Check that the labels of `data` are those of a network with this output.

    Raises
    ------
    ConfigError
        Another number of labels a sample, or a label out of range.
    ModelError
        The output is neither (N, C) nor (N, P, C).
    """
    if len(output.dims) not in (2, 3):
        raise ModelError(
            f"the model's output has the shape {output.dims}; (N, classes) or (N, labels, classes) "
            "is needed"
        )
    if data.y is None:
        return
    dims = [size for size in output.dims[1:] if isinstance(size, int)]
    if len(dims) + 1 != len(output.dims):
        raise ModelError(
            f"the model's output has the shape {output.dims}; labels are compared with a fixed "
            "number of answers: give data without labels"
        )
    count, classes = (dims[0] if len(dims) == 2 else 1), dims[-1]
    if data.y.shape[1] != count:
        raise ConfigError(
            f"{data.source} has {data.y.shape[1]} labels a sample, the model answers with {count}"
        )
    if data.y.max() >= classes:
        row = int(data.y.max(axis=1).argmax())
        raise ConfigError(
            f"{data.source}: sample {row} has the label {data.y.max()}, the model knows "
            f"{classes} classes, 0 to {classes - 1}"
        )


@contextmanager
def _new_directory(out: Path, force: bool) -> Iterator[Path]:
    """Give a directory beside `out` to fill; it takes the place of `out` if all went well.

    An interrupt or a full disk leaves the finished steps in it, for the next run.
    """
    _check_place(out, force)
    partial = out.with_name(f"{out.name}.partial")
    try:
        begin_again(partial)
        yield partial
        forget_steps(partial)
        if out.exists():
            old = out.with_name(f"{out.name}.old")
            out.rename(old)
            partial.rename(out)
            shutil.rmtree(old)
        else:
            partial.rename(out)
    except Exception as error:
        if not isinstance(error, OSError) or isinstance(error, SplitnetError):
            shutil.rmtree(partial, ignore_errors=True)
            raise
        _leave(partial)
        raise BundleError(f"cannot write the bundle {out}: {error.strerror or error}") from error
    except BaseException:
        _leave(partial)
        raise


def _leave(partial: Path) -> None:
    """Keep the finished steps of a build that was interrupted, and nothing else."""
    if has_steps(partial):
        begin_again(partial)
    else:
        shutil.rmtree(partial, ignore_errors=True)


def _check_place(out: Path, force: bool) -> None:
    if not out.exists():
        return
    if not force:
        raise ConfigError(f"{out} exists; give another --out, or --force to replace it")
    is_bundle = out.is_dir() and ((out / CONTRACT_FILE).is_file() or not any(out.iterdir()))
    if not is_bundle:
        raise ConfigError(f"{out} is not a bundle, so --force does not replace it")


def _json(value: Any) -> bytes:
    return (json.dumps(value, indent=1, allow_nan=False) + "\n").encode()
