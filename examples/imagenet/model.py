"""MobileNetV2 for ImageNet with the weights of the shared test data (``SPLITNET_DATA``)."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

from torch import nn

from splitnet.errors import ConfigError


def mobilenet_v2() -> nn.Module:
    """Return the pretrained MobileNetV2 1.0 at 224 x 224 (Sandler et al. 2018, arXiv 1801.04381).

    Raises
    ------
    ConfigError
        ``SPLITNET_DATA`` does not name a folder with ``models.py`` in it.
    """
    source = Path(os.environ.get("SPLITNET_DATA", "")) / "models.py"
    if not source.is_file():
        raise ConfigError("set SPLITNET_DATA to the folder that holds models.py and weights/")
    spec = importlib.util.spec_from_file_location("splitnet_test_models", source)
    assert spec is not None and spec.loader is not None
    models = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(models)
    network: nn.Module = models.mobilenet("mobilenet_v2_1.0_224")
    return network
