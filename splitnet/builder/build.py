"""The build: from a model and data to a bundle directory that appears whole or not at all."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import nn

from splitnet.builder.assembly import (
    INPUT_PATH,
    LEARNED_PATH,
    LearnedFiles,
    make_contract,
    make_plans,
    stage_costs,
)
from splitnet.builder.boundaries import Choice, choose_boundaries
from splitnet.builder.build_config import DEFAULT_CODECS, BuildConfig, parse_codec
from splitnet.builder.codec_levels import add_level, choose_levels, with_levels
from splitnet.builder.cuts import Cut, find_cuts, input_bytes
from splitnet.builder.data import Dataset, Roles, load_roles
from splitnet.builder.execution import Execution, inputs_of, prepare_row
from splitnet.builder.forms import (
    RANDOM,
    InputForm,
    input_names,
    known_forms,
    parse_form,
    random_roles,
)
from splitnet.builder.fusing import fused_heads, keep_fused
from splitnet.builder.golden import GOLDEN_FILE, golden_bytes, golden_count, make_golden
from splitnet.builder.inspection import describe
from splitnet.builder.int8 import (
    PATH_PREFIX,
    calibration_count,
    quantise_heads,
)
from splitnet.builder.labelling import check_interest, check_labels, has_labels
from splitnet.builder.learned_paths import LearnedPath, path_ids
from splitnet.builder.learning import Learned, Learner
from splitnet.builder.model import SourceModel, load_model
from splitnet.builder.overlap import check_overlap
from splitnet.builder.places import AUTO, INPUT, NONE, choose_places
from splitnet.builder.postprocess import check_fit, parse_postprocess, write_postprocess
from splitnet.builder.profiling import profile_bundle
from splitnet.builder.resume import Steps, begin_again, forget_steps, has_steps
from splitnet.builder.segments import Exported, export_segments
from splitnet.builder.shards import write_tables
from splitnet.builder.static_work import extra_bytes, stage_work
from splitnet.builder.stops import Stops, choose_stops
from splitnet.builder.tables import make_table
from splitnet.builder.train_exits import module_list
from splitnet.builder.trained_exits import TrainedExits
from splitnet.builder.verification import verify_bundle
from splitnet.bundle import Advice, Bundle, Contract, GraphRef
from splitnet.bundle.contract_checks import RESERVED_PATH
from splitnet.bundle.json_form import to_json
from splitnet.console import Progress
from splitnet.errors import BundleError, ConfigError, ModelError, SplitnetError
from splitnet.runtime.preprocess import default_steps, parse_steps
from splitnet.training.loop import Schedule
from splitnet.training.teacher import hash_modules
from splitnet.training.threads import math_threads
from splitnet.values import TensorSpec

__all__ = ["NO_LABELS", "BuildConfig", "build"]

CONTRACT_FILE, ADVICE_FILE, TABLE_FILE = "contract.json", "advice.json", "sample_table.npz"
NO_LABELS = (
    "answers are no labels: the whole model's are the right ones, and nothing learns from them"
)
PROFILE_THREADS = 1
"""A device computes one request at a time, and its other cores have other work."""


def build(config: BuildConfig, progress: Progress) -> dict[str, Any]:
    """Build the bundle and return what `describe` says of it, with notes and seconds.

    Raises
    ------
    SplitnetError
        Anything about model, data or place is not as needed; nothing is left at ``config.out``.
    """
    began_s = time.monotonic()
    with _new_directory(config.out, config.force) as folder, math_threads(config.threads):
        bundle, notes = _Builder(config, folder, progress).run()
    summary = {"out": str(config.out), "notes": notes, "seconds": time.monotonic() - began_s}
    return {**summary, **describe(bundle)}


class _Builder:
    def __init__(self, config: BuildConfig, folder: Path, progress: Progress) -> None:
        self._config = config
        self._folder = folder
        self._progress = progress
        self._paths = [LearnedPath(Path(place)) for place in config.learned]
        self._exits: TrainedExits | None = None
        if config.exit_heads is not None and Path(config.exit_heads).is_dir():
            self._exits = TrainedExits(Path(config.exit_heads))
            self._config = replace(config, exit_at=self._exits.exit_at(config.exit_at, AUTO))

    def run(self) -> tuple[Bundle, list[str]]:
        config, progress = self._config, self._progress
        forms = [parse_form(text) for text in config.input]
        last = None if config.postprocess is None else parse_postprocess(config.postprocess)
        roles = self._roles(forms)
        config.stop_wishes().check_samples(len(roles.calibration))
        steps = self._steps(roles.training)
        axes = [form.names for form in forms]
        model = load_model(
            config.model, prepare_row(roles.training, 0, steps, input_names(config.model)), axes
        )
        if last is not None:
            check_fit(last, model.graph.inputs, model.graph.outputs)
        for data in (roles.training, roles.calibration, roles.test):
            check_labels(data, model.graph.outputs[0], last)
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
        labelled = has_labels(model.graph.outputs, last)
        learned_at = self._learned_at(labelled)
        places = choose_places(
            choices, cuts, *learned_at, self._prefilter_at(model.graph.outputs, last)
        )
        post = None
        if last is not None:
            post = write_postprocess(last, exported.boundaries, self._folder)
        plain = make_contract(model.name, steps, exported, names, postprocess=post)
        for data in (roles.calibration, roles.test):
            inputs_of(plain, data, range(1))  # what does not fit is said before anything is learned
        heads = list(self._int8_heads(plain, exported, names, roles.calibration))
        given = self._heads(model, roles.training, steps)
        learned = Learner(
            self._execution(plain),
            exported,
            self._folder,
            names,
            Schedule(config.epochs, config.train_seconds, seed=config.seed),
            config.exit_wishes(),
            given,
            progress,
            Steps(self._folder, self._depends(plain, roles, choices, given)),
            config.prefilter_wishes(),
        ).learn(roles, places)
        trained = self._trained(model, roles.training, steps, choices, cuts)
        paths = [*learned.paths, *trained, *heads]
        contract = make_contract(model.name, steps, exported, names, paths, post)
        contract, reasons = self._with_codecs(contract, roles)
        stops = self._stops(contract, roles)
        bundle = self._document(contract, exported, learned, stops, paths, model, roles)
        self._prove()
        return bundle, [
            *roles.notes,
            *(() if labelled else (NO_LABELS,)),
            *places.notes,
            *learned.notes,
            *reasons,
            *stops.notes,
        ]

    def _int8_heads(
        self, contract: Contract, exported: Exported, names: Sequence[str], data: Dataset
    ) -> Iterator[LearnedFiles]:
        """Quantise the heads, if they are asked for."""
        if not self._config.int8_heads:
            return
        self._progress.step("quantising the heads")
        count = calibration_count(exported, self._folder, len(data))
        samples = (inputs_of(contract, data, [row]) for row in range(count))
        for head in quantise_heads(exported, samples, self._folder):
            path_id = PATH_PREFIX + names[head.boundary - 1]
            yield LearnedFiles(0, head.file, None, path_id, head.boundary)

    def _trained(
        self,
        model: SourceModel,
        data: Dataset,
        steps: Sequence[Mapping[str, Any]],
        choices: tuple[Choice, ...],
        cuts: tuple[Cut, ...],
    ) -> Iterator[LearnedFiles]:
        """Export the paths that were trained before."""
        names = path_ids(self._paths, [LEARNED_PATH, *path_names(choices)])
        for path_id, path in zip(names, self._paths, strict=True):
            (example,) = prepare_row(data, 0, steps)
            yield path.export(path_id, model, example, choices, cuts, self._folder)

    def _with_codecs(self, contract: Contract, roles: Roles) -> tuple[Contract, tuple[str, ...]]:
        """Return `contract` with the levels that were asked for, and why they are so."""
        if self._config.codec == DEFAULT_CODECS:
            return contract, ()
        execution = self._execution(contract)
        calibration, progress = roles.calibration, self._progress
        found = (
            choose_levels(execution, calibration, progress)
            if self._config.codec == AUTO
            else add_level(execution, calibration, parse_codec(self._config.codec), progress)
        )
        write_tables(found.tables, self._folder)
        return with_levels(contract, found.levels), found.reasons

    def _stops(self, contract: Contract, roles: Roles) -> Stops:
        """Return the stops of levels with several parts; none are chosen on random samples."""
        if self._config.data.partition(":")[0] == RANDOM:
            return Stops()
        execution = self._execution(contract)
        return choose_stops(execution, roles, self._config.stop_wishes(), self._progress)

    def _depends(
        self,
        contract: Contract,
        roles: Roles,
        choices: tuple[Choice, ...],
        heads: Sequence[nn.Module],
    ) -> object:
        """Return what the learned parts depend on, as JSON."""
        config = self._config
        samples = hashlib.sha256()
        for data in (roles.training, roles.calibration):
            for row in {0, len(data) - 1}:
                for array in prepare_row(data, row, ()):
                    samples.update(array.tobytes())
            samples.update(b"" if data.y is None else data.y.tobytes())
        sizes = [len(data) for data in (roles.training, roles.calibration)]
        return [
            [contract.sha256, [choice.name for choice in choices], samples.hexdigest(), sizes],
            [config.data, config.calib, config.seed, config.exit_at, config.bottleneck_at],
            [config.epochs, config.train_seconds, to_json(config.exit_wishes())],
            [config.interest_at, to_json(config.prefilter_wishes())],
            [hash_modules(heads)],
        ]

    def _heads(
        self, model: SourceModel, data: Dataset, steps: Sequence[Mapping[str, Any]]
    ) -> tuple[nn.Module, ...]:
        """Return the trained heads that are given."""
        spec = self._config.exit_heads
        if self._exits is not None:
            (example,) = prepare_row(data, 0, steps)
            return tuple(self._exits.heads(model, example))
        return () if spec is None else tuple(module_list(spec))

    def _roles(self, forms: Sequence[InputForm]) -> Roles:
        config = self._config
        if config.data.partition(":")[0] == RANDOM:
            return random_roles(config.data, known_forms(config.model, forms), config.seed)
        roles = load_roles(config.data, config.calib, config.test, config.seed)
        notes = [*roles.notes, *check_overlap(roles)]
        for path in self._paths:
            notes += path.check_roles(roles)
        notes += () if self._exits is None else self._exits.check_roles(roles)
        return replace(roles, notes=tuple(notes))

    def _learned_at(self, labelled: bool) -> tuple[str, str]:
        """Return where exit and bottleneck stand.

        Nothing is learned of random samples, or where answers are no labels.
        """
        config = self._config
        if config.data.partition(":")[0] != RANDOM and labelled:
            automatic = NONE if config.learned else AUTO
            at = automatic if config.bottleneck_at == AUTO else config.bottleneck_at
            return config.exit_at, at
        if not labelled and config.exit_at not in (AUTO, NONE):
            raise ConfigError(
                f"--exit-at {config.exit_at}: an exit answers with labels, this model does not; "
                "give --exit-at none"
            )
        exit_at, bottleneck_at = (
            NONE if at == AUTO else at for at in (config.exit_at, config.bottleneck_at)
        )
        return exit_at, bottleneck_at

    def _prefilter_at(
        self, outputs: Sequence[TensorSpec], step: Mapping[str, Any] | None
    ) -> str | None:
        """Return where a prefilter is to stand, ``None`` if there is to be none."""
        wishes = self._config.prefilter_wishes()
        if wishes is not None:
            check_interest(wishes.interest, outputs, step)
        return None if wishes is None else self._config.interest_at

    def _steps(self, data: Dataset) -> tuple[Any, ...]:
        if self._config.preprocess is not None:
            return parse_steps(self._config.preprocess)
        if self._config.data.partition(":")[0] == RANDOM:
            return ()
        return default_steps(data.load(0).dtype.name)

    def _choose(self, cuts: tuple[Cut, ...], size: int) -> tuple[Choice, ...]:
        config = self._config
        named = (*config.exit_at.split(","), config.bottleneck_at)
        named += () if config.interest is None else (config.interest_at,)
        must = [name for name in named if name not in (AUTO, NONE, INPUT)]
        must += [name for path in self._paths for name in path.must]
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
        stops: Stops,
        paths: Sequence[LearnedFiles],
        model: SourceModel,
        roles: Roles,
    ) -> Bundle:
        """Measure everything and write all that is not a graph."""
        execution = self._execution(contract)
        heads, data = learned.heads, roles.test
        table = make_table(execution, learned.exits, data, self._progress, learned.prefilter)
        rows = range(min(golden_count(contract), len(roles.test)))
        inputs = inputs_of(contract, roles.test, rows)
        golden = make_golden(execution, heads, inputs, model.reference)
        single = Execution(self._folder, contract, PROFILE_THREADS, batch=1)
        profile = profile_bundle(single, heads, data, PROFILE_THREADS, self._progress)
        fused, profile = keep_fused(
            exported.fused, single, profile, roles.test, self._folder, self._progress
        )
        in_order = sorted(heads, key=lambda head: head.boundary)
        costs, flops = stage_costs(contract, exported, learned.exit_files, paths)
        advice = Advice(
            contract_sha256=contract.sha256,
            exits=learned.exits,
            plans=make_plans(contract, in_order, stops.thresholds),
            profiles=(profile,),
            costs=costs,
            sample_table=self._write(TABLE_FILE, table.to_bytes()),
            golden=self._write(GOLDEN_FILE, golden_bytes(golden)),
            roles={**self._origin(roles), **learned.origin, "stops": stops.origin},
            flops=flops,
            fused=fused,
            work=stage_work(self._folder, contract, heads, fused),
            sizes=execution.sizes(inputs),
            extra_bytes=extra_bytes(self._folder, contract),
            prefilter=learned.prefilter,
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
