"""Networks of the library transformers with random weights, named as ``zoo.py:<function>``."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn


class Logits(nn.Module):
    """A classifier of images whose answer is its logits alone."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, pixels: Tensor) -> Tensor:
        """Return logits (N, C) of (N, 3, H, W)."""
        logits: Tensor = self.network(pixels).logits
        return logits


class NextToken(nn.Module):
    """A causal language model without a cache."""

    def __init__(self, network: Any) -> None:
        super().__init__()
        self.network = network

    def forward(self, ids: Tensor) -> Tensor:
        """Return logits (N, T, C) of whole numbers (N, T)."""
        logits: Tensor = self.network(input_ids=ids, use_cache=False).logits
        return logits


class MaskedNextToken(NextToken):
    """The same with a mask of what is no padding, which every layer reads."""

    def forward(self, ids: Tensor, mask: Tensor | None = None) -> Tensor:
        """Return logits (N, T, C) of whole numbers (N, T) and marks (N, T)."""
        found = self.network(input_ids=ids, attention_mask=mask, use_cache=False)
        logits: Tensor = found.logits
        return logits


def vit() -> nn.Module:
    """Return a vision transformer of 4 layers for images of 224 x 224."""
    from transformers import ViTConfig, ViTForImageClassification

    torch.manual_seed(0)
    options: dict[str, Any] = {"num_labels": 1000}
    config = ViTConfig(
        hidden_size=192,
        num_hidden_layers=4,
        num_attention_heads=3,
        intermediate_size=768,
        **options,
    )
    return Logits(ViTForImageClassification(config))


def resnet50() -> nn.Module:
    """Return a ResNet-50."""
    from transformers import ResNetConfig, ResNetForImageClassification

    torch.manual_seed(0)
    options: dict[str, Any] = {"num_labels": 1000}
    return Logits(ResNetForImageClassification(ResNetConfig(**options)))


def _llama() -> Any:
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    options: dict[str, Any] = {"attn_implementation": "eager"}
    config = LlamaConfig(
        vocab_size=512,
        hidden_size=64,
        intermediate_size=172,
        num_hidden_layers=4,
        num_attention_heads=8,
        num_key_value_heads=4,
        max_position_embeddings=512,
        **options,
    )
    return LlamaForCausalLM(config)


def llama() -> nn.Module:
    """Return a Llama of 4 layers."""
    return NextToken(_llama())


def masked_llama() -> nn.Module:
    """Return the same with a second input, the mask."""
    return MaskedNextToken(_llama())
