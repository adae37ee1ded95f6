"""Small networks with the shapes of trouble, named by the tests as ``networks.py:<function>``.

All but the last ones take float32 (N, 3, 16, 16).
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Residual(nn.Module):
    """Convolution, batch normalisation, activations of three kinds, and a sum of two paths."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(nn.Conv2d(3, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU())
        self.block = nn.Sequential(nn.Conv2d(8, 8, 3, padding=1), nn.SiLU(), nn.Conv2d(8, 8, 1))
        self.down = nn.Sequential(nn.Conv2d(8, 16, 3, 2, 1, groups=8), nn.GELU())
        self.head = nn.Linear(16 * 8 * 8, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, 10)."""
        x = self.stem(x)
        x = self.down(F.relu(x + self.block(x)))
        logits: Tensor = self.head(x.flatten(1))
        return logits


class Branches(nn.Module):
    """Two towers from the input on, so that nothing can be cut before they meet."""

    def __init__(self) -> None:
        super().__init__()
        self.left = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.Conv2d(4, 8, 3, 2, 1))
        self.right = nn.Sequential(nn.Conv2d(3, 4, 3, 2, 1), nn.ReLU(), nn.Conv2d(4, 8, 3, 2, 1))
        self.join = nn.Conv2d(16, 4, 1)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, 4)."""
        joined: Tensor = self.join(torch.cat([self.left(x), self.right(x)], 1))
        return joined.mean((2, 3))


class Shared(nn.Module):
    """One convolution that is called three times."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 16, 3, 2, 1)
        self.again = nn.Conv2d(16, 16, 3, padding=1)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, 16)."""
        x = self.stem(x)
        for _ in range(3):
            x = torch.tanh(self.again(x))
        return x.mean((2, 3))


class Sizes(nn.Module):
    """A vision transformer in small: it reads the batch size at once and uses it at the end."""

    def __init__(self) -> None:
        super().__init__()
        self.patch = nn.Conv2d(3, 32, 4, 4)
        self.mark = nn.Parameter(torch.randn(1, 1, 32))
        self.mix = nn.MultiheadAttention(32, 4, batch_first=True)
        self.head = nn.Linear(32, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, 10)."""
        count = x.shape[0]
        x = self.patch(x).view(count, 32, -1).transpose(1, 2)
        x = torch.cat([self.mark.expand(count, -1, -1), x], 1)
        x = x + self.mix(x, x, x, need_weights=False)[0]
        logits: Tensor = self.head(x.view(count, 17, 32)[:, 0])
        return logits


class Stages(nn.Module):
    """Two stages and a classifier that tells the strongest colour of an image in [0, 1]."""

    def __init__(self) -> None:
        super().__init__()
        self.stage1 = nn.Sequential(nn.Conv2d(3, 8, 3, 1, 1), nn.ReLU())
        self.stage2 = nn.Sequential(nn.Conv2d(8, 12, 3, 2, 1), nn.ReLU())
        self.head = nn.Linear(12, 3)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, 3)."""
        logits: Tensor = self.head(self.stage2(self.stage1(x)).mean((2, 3)))
        return logits


def _seeded(kind: type[nn.Module]) -> nn.Module:
    torch.manual_seed(0)
    network = kind()
    for module in network.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.running_mean)  # type: ignore[arg-type]
            nn.init.uniform_(module.weight)
    return network


def residual() -> nn.Module:
    """Return a seeded `Residual`."""
    return _seeded(Residual)


def branches() -> nn.Module:
    """Return a seeded `Branches`."""
    return _seeded(Branches)


def shared() -> nn.Module:
    """Return a seeded `Shared`."""
    return _seeded(Shared)


def sizes() -> nn.Module:
    """Return a seeded `Sizes`."""
    return _seeded(Sizes)


def stages() -> nn.Module:
    """Return a `Stages` whose weights were written by hand: each colour has its own channels."""
    network = _seeded(Stages)
    for parameter in network.parameters():
        nn.init.normal_(parameter, 0.0, 0.01)
    for stage in ("stage1", "stage2"):
        weight = network.get_submodule(stage).get_parameter("0.weight")
        weight.data[:3, :3, 1, 1] = torch.eye(3)
    network.get_submodule("head").get_parameter("weight").data[:, :3] = 20 * torch.eye(3)
    return network


def other_stages() -> nn.Module:
    """Return a `Stages` that does what `stages` does with other weights."""
    network = stages()
    for name in ("stage1", "stage2"):
        network.get_submodule(name).get_parameter("0.weight").data *= 1.1
    return network


def no_module() -> str:
    """Return what is no network."""
    return "weights.pt"


def broken() -> nn.Module:
    """Fail as a constructor does."""
    raise FileNotFoundError("weights.pt")


class Branching(nn.Module):
    """Decides on the content of its input."""

    def forward(self, x: Tensor) -> Tensor:
        """Return x or twice x."""
        if x.sum() > 0:
            return x * 2
        return x


class NoOnnxForm(nn.Module):
    """Calls an operator that ONNX does not have."""

    def forward(self, x: Tensor) -> Tensor:
        """Return eigenvalues."""
        values: Tensor = torch.linalg.eigvals(x)
        return values.real


class MixesSamples(nn.Module):
    """Subtracts the mean of the batch."""

    def forward(self, x: Tensor) -> Tensor:
        """Return x without the mean of the batch."""
        return x - x.mean(0, keepdim=True)


class FixedBatch(nn.Module):
    """Answers with one row, whatever the batch."""

    def forward(self, x: Tensor) -> Tensor:
        """Return all samples in one row."""
        return x.reshape(1, -1)


class Noisy(nn.Module):
    """Never answers the same twice."""

    def forward(self, x: Tensor) -> Tensor:
        """Return x with noise."""
        return x + torch.rand_like(x)


class NestedAnswers(nn.Module):
    """Returns a tensor and a dictionary."""

    def forward(self, x: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """Return x and twice x."""
        return x, {"twice": 2 * x}


class Tokens(nn.Module):
    """A causal language model in small: whole numbers (N, T) in, any T, logits (N, T, 11) out."""

    def __init__(self) -> None:
        super().__init__()
        self.embed = nn.Embedding(11, 16)
        self.first = nn.Linear(16, 48)
        self.second = nn.Linear(16, 16)
        self.head = nn.Linear(16, 11)

    def forward(self, ids: Tensor) -> Tensor:
        """Return logits (N, T, 11)."""
        count = ids.shape[1]
        x = self.embed(ids) + torch.arange(count, dtype=torch.float32)[:, None] / 64
        q, k, v = self.first(x).chunk(3, -1)
        hidden = torch.ones(count, count, dtype=torch.bool).triu(1)
        weights = (q @ k.transpose(1, 2)).masked_fill(hidden, -1e4).softmax(-1)
        x = x + torch.tanh(self.second(weights @ v))
        logits: Tensor = self.head(x)
        return logits


class Masked(nn.Module):
    """Two inputs, an image and whole numbers; two outputs; a bool tensor is used at both ends."""

    def __init__(self) -> None:
        super().__init__()
        self.image = nn.Conv2d(3, 8, 3, 2, 1)
        self.join = nn.Linear(8, 8)
        self.head = nn.Linear(8, 5)

    def forward(self, image: Tensor, marks: Tensor) -> tuple[Tensor, Tensor]:
        """Return logits (N, 5) and features (N, 8) of (N, 3, 16, 16) and (N, 8)."""
        kept = marks > 2
        features = torch.relu(self.image(image)).mean((2, 3)).masked_fill(kept, 0.0)
        early = torch.sigmoid(features)
        late = torch.tanh(self.join(features)).masked_fill(kept, 1.0)
        return self.head(late), early


class AnySize(nn.Module):
    """Convolutions for images of any height and width, with strides."""

    def __init__(self) -> None:
        super().__init__()
        self.first = nn.Conv2d(3, 8, 3, 2, 1)
        self.second = nn.Conv2d(8, 16, 3, 2, 1)
        self.head = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (N, 4) of (N, 3, H, W)."""
        x = torch.relu(self.second(torch.relu(self.first(x))))
        logits: Tensor = self.head(x.mean((2, 3)))
        return logits


class AnyInputs(nn.Module):
    """Takes whatever it is given."""

    def forward(self, *inputs: Tensor) -> Tensor:
        """Return the first input."""
        return inputs[0].relu()


class IgnoresInput(nn.Module):
    """Returns zeros of the right batch size."""

    def forward(self, x: Tensor) -> Tensor:
        """Return zeros (N, 3)."""
        return torch.zeros(x.shape[0], 3)


def tokens() -> nn.Module:
    """Return a seeded `Tokens`."""
    return _seeded(Tokens)


def masked() -> nn.Module:
    """Return a seeded `Masked`."""
    return _seeded(Masked)
