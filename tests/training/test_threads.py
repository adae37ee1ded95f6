"""Threads of a training."""

from __future__ import annotations

import torch
from threadpoolctl import threadpool_info

from splitnet.training.threads import math_threads


def test_the_number_of_threads_is_put_back() -> None:
    before = torch.get_num_threads()
    with math_threads(before + 1):
        assert torch.get_num_threads() == before + 1
    assert torch.get_num_threads() == before
    own = _blas_threads()
    with math_threads(2):
        assert set(_blas_threads()) == {2} != set(own)
    assert _blas_threads() == own


def _blas_threads() -> list[int]:
    return [pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas"]
