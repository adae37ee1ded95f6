"""An interrupted build: nothing half-written, and a rerun continues."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from splitnet.builder import build as build_module
from splitnet.builder import learning
from splitnet.builder.build import BuildConfig, build
from splitnet.builder.resume import Steps
from splitnet.builder.verification import verify_bundle
from splitnet.console import Silent
from splitnet.errors import BundleError
from splitnet.runtime.directory import open_bundle


def _raise(error: BaseException) -> Callable[..., Any]:
    def fail(*arguments: Any, **options: Any) -> Any:
        raise error

    return fail


@pytest.fixture
def config(built: BuildConfig, tmp_path: Path) -> BuildConfig:
    """A build with an exit and a bottleneck that trains for an epoch."""
    return replace(built, out=tmp_path / "bundle", epochs=1)


def interrupt(config: BuildConfig, error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    """Run a build that ends after everything was learned."""
    with monkeypatch.context() as patch:
        patch.setattr(build_module, "make_table", _raise(error))
        with pytest.raises((KeyboardInterrupt, BundleError)):
            build(config, Silent())


@pytest.mark.parametrize("error", [KeyboardInterrupt(), OSError(28, "No space left on device")])
def test_a_rerun_goes_on_after_what_was_learned(
    config: BuildConfig, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    interrupt(config, error, monkeypatch)
    partial = config.out.with_name("bundle.partial")
    assert not config.out.exists()
    assert [path.name for path in partial.iterdir()] == ["steps"]
    with monkeypatch.context() as patch:
        for name in ("build_exits", "train_bottleneck", "collect_features"):
            patch.setattr(learning, name, _raise(AssertionError(f"{name} ran again")))
        summary = build(config, Silent())
    assert not partial.exists() and not (config.out / "steps").exists()
    assert any(note.startswith("exit stage1") for note in summary["notes"])
    assert [path["path"] for path in summary["paths"]][-1] == "bottleneck"
    assert verify_bundle(config.out, None, Silent()).ok


def test_steps_of_another_build_are_not_taken(
    config: BuildConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    interrupt(config, KeyboardInterrupt(), monkeypatch)
    other = replace(config, seed=1)
    with monkeypatch.context() as patch:
        patch.setattr(learning, "build_exits", _raise(KeyboardInterrupt()))
        with pytest.raises(KeyboardInterrupt):
            build(other, Silent())
    assert not other.out.with_name("bundle.partial").exists()


def test_a_damaged_step_is_done_again(config: BuildConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    interrupt(config, KeyboardInterrupt(), monkeypatch)
    steps = config.out.with_name("bundle.partial") / "steps"
    next(steps.glob("exit-*.onnx")).write_bytes(b"")
    (steps / "bottleneck.json").write_text("{")
    build(config, Silent())
    assert len(open_bundle(config.out).advice.exits) == 1


def test_steps_keep_dataclasses_and_files(tmp_path: Path, built: BuildConfig) -> None:
    (head,) = open_bundle(built.out).advice.exits
    steps = Steps(tmp_path, {"seed": 0})
    assert steps.load("exit", type(head)) is None
    for name in head.graph.files:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes((built.out / name).read_bytes())
    steps.save("exit", head, [head.graph])
    (tmp_path / head.graph.file).unlink()
    again = Steps(tmp_path, {"seed": 0})
    assert again.load("exit", type(head)) == head and again.restore([head.graph])
    assert (tmp_path / head.graph.file).is_file()
    assert Steps(tmp_path, {"seed": 1}).load("exit", type(head)) is None
