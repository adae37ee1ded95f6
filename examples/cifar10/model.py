r"""ResNet-56 for CIFAR-10 with the weights of the shared test data (``SPLITNET_DATA``).

Examples
--------
::

    splitnet build --model examples/cifar10/model.py:resnet56 --cuts layer1,layer2,layer3 \
        --preprocess scale=255,mean=0.485:0.456:0.406,std=0.229:0.224:0.225,layout=chw \
        --data "$SPLITNET_DATA/cifar10/cifar10_train_0.npz" \
        --calib "$SPLITNET_DATA/cifar10/cifar10_test.npz[:2400]" \
        --test "$SPLITNET_DATA/cifar10/cifar10_test.npz[2400:]" --out bundle
"""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path

from torch import nn

from splitnet.errors import ConfigError


def resnet56() -> nn.Module:
    """Return the pretrained ResNet-56 (He et al. 2015, arXiv 1512.03385, section 4.2).

    Raises
    ------
    ConfigError
        ``SPLITNET_DATA`` does not name a folder with ``models.py`` in it.
    """
    folder = os.environ.get("SPLITNET_DATA")
    if not folder:
        raise ConfigError("set SPLITNET_DATA to the folder that holds models.py and weights/")
    source = Path(folder) / "models.py"
    if not source.is_file():
        raise ConfigError(f"SPLITNET_DATA={folder} holds no models.py")
    spec = importlib.util.spec_from_file_location("splitnet_test_models", source)
    assert spec is not None and spec.loader is not None
    models = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(models)
    network: nn.Module = models.cifar_resnet(56)
    return network
