"""From the settings of a worker to the bounds of its machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from splitnet.cloud.config import CloudConfig
from splitnet.cloud.serving import _worker_config
from splitnet.machines.worker import WorkerConfig


@pytest.mark.parametrize("max_request_bytes", [1, 4 << 20, 5 << 20, 1 << 30])
def test_the_credit_lets_a_request_follow_the_largest_one(max_request_bytes: int) -> None:
    config = _worker_config(CloudConfig(Path("b"), max_request_bytes=max_request_bytes))
    assert config.max_request_bytes == max_request_bytes
    assert config.window_bytes >= 2 * max_request_bytes
    assert config.window_bytes >= WorkerConfig().window_bytes
