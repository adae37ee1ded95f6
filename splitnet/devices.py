"""Device classes: boards whose speed is known from published figures, and profiles of them.

A class is what one well-known network takes on the board. A profile that knows what the same
network takes on its own machine, `Profile.reference_s`, becomes the profile of the board by one
factor. What that leaves out, and the error to expect, is in docs/devices.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from splitnet.config import nearest
from splitnet.errors import ConfigError, UnknownNameError
from splitnet.values import Profile, StageTime

REFERENCE_NETWORK = "MobileNetV2 1.0, 224 x 224, batch 1"
"""Sandler et al., arXiv 1801.04381, Table 2. It is measured nearly everywhere, and it has next to
no dense 3 x 3 convolutions, which some engines compute by Winograd's algorithm, others not."""

NCNN = (
    "https://github.com/Tencent/ncnn/blob/a4d2ea1d4422c9e849f166fd7a4aefb52f942f6a/"
    "benchmark/README.md, mobilenet_v2, average"
)

_FLOAT32 = "ncnn, 1 thread, float32"
_FLOAT16 = "ncnn, 1 thread, float16 arithmetic"
_VULKAN = "ncnn on the GPU (Vulkan), float16 arithmetic"


@dataclass(frozen=True, slots=True)
class DeviceClass:
    """A kind of board.

    Attributes
    ----------
    processor
        What the figure was measured on.
    reference_s
        What `REFERENCE_NETWORK` takes there, in seconds.
    measured
        Engine, threads and arithmetic of the figure.
    source
        Where it was published.
    arithmetic
        How splitnet computes there, which says how far results may be off (docs/verify.md): in
        float32 on the processor, in float16 on a GPU.
    """

    name: str
    processor: str
    reference_s: float
    measured: str
    source: str = NCNN
    arithmetic: str = "aarch64"


_CLASSES = (
    DeviceClass("raspberry-pi-zero-2-w", "Cortex-A53, 1.0 GHz", 0.27423, _FLOAT32),
    DeviceClass("raspberry-pi-3b-plus", "Cortex-A53, 1.4 GHz", 0.15880, _FLOAT32),
    DeviceClass("raspberry-pi-4", "Cortex-A72, 1.8 GHz", 0.09348, _FLOAT32),
    DeviceClass("raspberry-pi-5", "Cortex-A76, 2.4 GHz", 0.01638, _FLOAT16),
    DeviceClass("jetson-nano", "Cortex-A57", 0.09399, _FLOAT32),
    DeviceClass(
        "jetson-nano-gpu", "Maxwell GPU, 128 cores", 0.01299, _VULKAN, arithmetic="float16"
    ),
    DeviceClass("jetson-tx2-nx", "Denver2 and Cortex-A57, 2.0 GHz", 0.05954, _FLOAT32),
    DeviceClass("jetson-agx-xavier", "Carmel, 2.2 GHz", 0.02468, _FLOAT16),
    DeviceClass("jetson-orin-nano", "Cortex-A78AE", 0.01937, _FLOAT16),
)

DEVICE_CLASSES: Mapping[str, DeviceClass] = {device.name: device for device in _CLASSES}
"""The known classes by name."""


def device_class(name: str) -> DeviceClass:
    """Return the device class `name`.

    Raises
    ------
    UnknownNameError
        There is none of that name; the message lists those that are known.
    """
    if name not in DEVICE_CLASSES:
        raise UnknownNameError(
            f"unknown device class {name!r}{nearest(name, DEVICE_CLASSES)}; "
            f"known: {', '.join(DEVICE_CLASSES)}"
        )
    return DEVICE_CLASSES[name]


def named_profile(profiles: Sequence[Profile], name: str | None = None) -> Profile:
    """Return the profile of the device `name`, or the first one.

    Raises
    ------
    ConfigError
        There is none of that name, or none at all.
    """
    if not profiles:
        raise ConfigError("the bundle has no profile, which stage times are taken from")
    by_name = {profile.device: profile for profile in profiles}
    if name is None:
        return profiles[0]
    if name not in by_name:
        raise UnknownNameError(
            f"the bundle has no profile {name!r}{nearest(name, by_name)}; "
            f"known: {', '.join(by_name)}"
        )
    return by_name[name]


def own_profile(profiles: Sequence[Profile], device: str) -> Profile | None:
    """Return the profile of the device `device`, or the first one, ``None`` if there is none."""
    own = [profile for profile in profiles if profile.device == device]
    return next(iter([*own, *profiles]), None)


def scaled(profile: Profile, factor: float, device: str) -> Profile:
    """Return the profile of `device`, which takes `factor` times as long for everything.

    It draws the same power meanwhile, hence needs `factor` times the energy, and as much memory.
    """

    def slower(time: StageTime) -> StageTime:
        return StageTime(factor * time.p50_s, factor * time.p95_s)

    energy = profile.energy
    if energy is not None:
        stages_j = {key: factor * joules for key, joules in energy.stages_j.items()}
        energy = replace(energy, stages_j=stages_j)
    return replace(
        profile,
        device=device,
        stages={key: slower(time) for key, time in profile.stages.items()},
        reference_s=None if profile.reference_s is None else factor * profile.reference_s,
        batches=tuple(replace(batch, time=slower(batch.time)) for batch in profile.batches),
        energy=energy,
    )


def profile_on(device: DeviceClass, profile: Profile) -> Profile:
    """Return what `profile` would be on a board of the class `device`.

    What it says of energy and memory is of its own machine and left out.

    Raises
    ------
    ConfigError
        The profile does not say what the reference network takes on its machine.
    """
    if profile.reference_s is None:
        raise ConfigError(
            f"the bundle's profile {profile.device!r} does not say how long {REFERENCE_NETWORK} "
            f"takes on its machine, so nothing is known of {device.name}: build the bundle again, "
            "or give a factor"
        )
    there = scaled(profile, device.reference_s / profile.reference_s, device.name)
    return replace(there, energy=None, peak_bytes=None)
