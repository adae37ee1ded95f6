"""The replica without a cluster, and what is checked before Ray is started."""

from __future__ import annotations

import sys
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from splitnet.cloud.cli import main
from splitnet.cloud.config import CloudConfig
from splitnet.errors import ConfigError, SplitnetError
from tests.transport.key_files import make_keys

THIRD_PARTY = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
"""Ray Serve uses what pydantic deprecates."""


def test_without_ray_the_extra_is_named(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    monkeypatch.delitem(sys.modules, "splitnet.cloud.ray_host", raising=False)
    assert main(["serve", "--ray", "--bundle", "b"]) == 1
    assert capsys.readouterr().err == (
        "error: this command needs the module 'ray', which is not installed: "
        "pip install 'splitnet[ray]'\n"
    )


@pytest.fixture
def config(sample_directory: Path) -> CloudConfig:
    pytest.importorskip("ray", reason="Ray is not installed: pip install 'splitnet[ray]'")
    return CloudConfig(sample_directory, bind="tcp://127.0.0.1:*")


@pytest.mark.ray
@THIRD_PARTY
def test_a_replica_serves_until_it_is_wanted_no_longer(config: CloudConfig) -> None:
    from splitnet.cloud.ray_host import WorkerReplica

    replica = WorkerReplica(asdict(config))
    assert replica.line()["paths"] == ["input", "c1", "c2", "bottleneck"]
    replica.check_health()
    replica.__del__()
    with pytest.raises(SplitnetError, match="it was stopped"):
        replica.check_health()
    replica.__del__()


@pytest.mark.ray
@THIRD_PARTY
def test_a_replica_that_cannot_start_says_why(config: CloudConfig) -> None:
    from splitnet.cloud.ray_host import WorkerReplica

    with pytest.raises(ConfigError, match="is not an endpoint"):
        WorkerReplica({**asdict(config), "bind": "nonsense"})


@pytest.mark.ray
@THIRD_PARTY
def test_user_arguments_are_checked_like_options(config: CloudConfig) -> None:
    from splitnet.cloud.serve_app import app

    assert app({"bundle": str(config.bundle), "replicas": 2, "bind": "tcp://127.0.0.1:5600-5699"})
    with pytest.raises(ConfigError, match=r"bundel: unknown setting \(did you mean 'bundle'\?\)"):
        app({"bundel": "b"})
    with pytest.raises(ConfigError, match="give a range such as"):
        app({"bundle": "b", "replicas": 2})


@pytest.mark.ray
@THIRD_PARTY
def test_keys_are_checked_before_ray_is_started(config: CloudConfig, tmp_path: Path) -> None:
    from splitnet.cloud.ray_host import serve_on_ray

    worker = make_keys(tmp_path, "worker", "worker")
    for settings, message in (
        ({"key": worker.secret}, "--key needs --allow"),
        ({"key": worker.secret, "allow": tmp_path / "nothing"}, "cannot read the allow-list"),
        ({"bind": "tcp://0.0.0.0:5600-5699"}, "needs keys"),
    ):
        with pytest.raises(ConfigError, match=message):
            serve_on_ray(replace(config, **settings), lambda line: None)


@pytest.mark.ray
@THIRD_PARTY
def test_too_little_memory_is_said_before_ray_is_started(
    config: CloudConfig, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    from splitnet.cloud import ray_host

    monkeypatch.setenv("RAY_TMPDIR", str(tmp_path))
    monkeypatch.delenv("RAY_ADDRESS", raising=False)
    monkeypatch.setattr(ray_host, "available_bytes", lambda: 100 << 20)
    with pytest.raises(ConfigError, match="100 MiB of memory are available and Ray needs 2048"):
        ray_host.serve_on_ray(config, lambda line: None)
