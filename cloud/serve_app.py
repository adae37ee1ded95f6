"""What ``serve run splitnet.cloud.serve_app:app`` and Serve's config files import.

The user arguments are the options of ``splitnet cloud serve``, as in
``serve run splitnet.cloud.serve_app:app bundle=out/digits bind=tcp://127.0.0.1:5600-5699``.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any

from splitnet.cloud.config import CloudConfig
from splitnet.cloud.ray_host import application
from splitnet.config import load_config


def app(args: Mapping[str, Any]) -> Any:
    """Return the Serve application for the user arguments, which are the options of ``serve``.

    Parameters
    ----------
    args
        Names are those of `CloudConfig`; ``SPLITNET_CLOUD_*`` of the environment fills the gaps.

    Raises
    ------
    ConfigError
        An argument is unknown, missing or cannot be used.
    """
    return application(load_config(CloudConfig, "cloud", options=args, environ=os.environ))
