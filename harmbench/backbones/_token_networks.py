"""The modules behind `token_mlp` and `token_transformer`, alone and as a stack.

`forward` is the model. `stacked` computes S models at once, from their stacked parameters (S, ...) and tokens (S, B,
T). These networks are so small that the number of calls and of passes over short rows dominates. A test compares the
two.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F  # noqa: N812

StackedParameters = Mapping[str, Tensor]  # parameters of S modules, by name, each (S, ...)


def embedding(vocabulary: int, width: int) -> nn.Embedding:
    """An embedding (V, N) with normal entries, whose rows have a length of about 1."""
    table = nn.Embedding(vocabulary, width)
    nn.init.normal_(table.weight, std=width**-0.5)
    return table


def looked_up(tables: Tensor, tokens: Tensor) -> Tensor:
    """Rows (S, M, N) of S tables (S, V, N) for tokens (S, M)."""
    count, vocabulary, width = tables.shape
    offsets = torch.arange(0, count * vocabulary, vocabulary, device=tokens.device)
    rows = tokens + offsets[:, None]
    # The gradient of `index_select` is a few times as fast as that of an embedding.
    selected = tables.flatten(0, 1).index_select(0, rows.flatten())
    return selected.view(*tokens.shape, width)


class TokenMlpNetwork(nn.Module):
    """Tokens (B, T) -> embeddings, side by side -> hidden, SiLU -> (B, N)."""

    def __init__(self, length: int, vocabulary: int, width: int, hidden: int) -> None:
        super().__init__()
        self.embedding = embedding(vocabulary, width)
        self.layers = nn.Sequential(nn.Linear(length * width, hidden), nn.SiLU(), nn.Linear(hidden, width))

    def forward(self, tokens: Tensor) -> Tensor:
        features: Tensor = self.layers(self.embedding(tokens).flatten(1))
        return features

    def stacked(self, parameters: StackedParameters, tokens: Tensor) -> Tensor:
        """Features (S, B, N) of S such networks for tokens (S, B, T)."""
        x = looked_up(parameters["embedding.weight"], tokens.flatten(1)).view(*tokens.shape[:2], -1)
        x = _affine(parameters["layers.0.weight"], parameters["layers.0.bias"], x)
        return _affine(parameters["layers.2.weight"], parameters["layers.2.bias"], F.silu(x))


class TokenTransformerNetwork(nn.Module):
    """Tokens (B, T) -> embeddings and positions -> encoder layers -> the last position (B, N).

    Around each layer, which has its own residual connections, there is another one.
    """

    def __init__(
        self, length: int, vocabulary: int, width: int, heads: int, layers: int, feedforward: int, dropout: float
    ) -> None:
        super().__init__()
        self.embedding = embedding(vocabulary, width)
        self.positions = nn.Parameter(torch.randn(length, width))
        self.layers = nn.ModuleList(
            nn.TransformerEncoderLayer(width, heads, feedforward, dropout, batch_first=True) for _ in range(layers)
        )
        self._sizes = (heads, feedforward)
        self._dropout = dropout

    def forward(self, tokens: Tensor) -> Tensor:
        x: Tensor = self.embedding(tokens) + self.positions
        for layer in self.layers:
            x = x + layer(x)
        return x[:, -1]

    def stacked(self, parameters: StackedParameters, tokens: Tensor) -> Tensor:
        """Features (S, B, N) of S such networks for tokens (S, B, T). Dropout masks of all networks are one draw.

        The batch is the last axis, not the features. Vectors are shorter than a register, so softmax and norm over rows
        of three or sixteen numbers would take longer than the rest.
        """
        table = parameters["embedding.weight"]
        positions = parameters["positions"]
        (count, batch, length), width = tokens.shape, table.shape[-1]
        x = looked_up(table, tokens.transpose(1, 2).flatten(1)).view(count, length, batch, width)
        x = (x + positions[:, :, None]).permute(0, 3, 1, 2)  # (S, N, T, B)
        masks: Sequence[Tensor | None] = [None] * (4 * len(self.layers))
        if self.training and self._dropout > 0:
            masks = self._masks(count, length, batch, width, x)
        for index in range(len(self.layers)):
            layer_parameters = _within(parameters, f"layers.{index}.")
            x = x + self._layer(layer_parameters, x, masks[4 * index : 4 * index + 4])
        return x[:, :, -1].transpose(1, 2).contiguous()

    def _layer(self, p: StackedParameters, x: Tensor, masks: Sequence[Tensor | None]) -> Tensor:
        """One encoder layer for x (S, N, T, B), normalized after each residual connection."""
        heads = self._sizes[0]
        count, width, length, batch = x.shape
        qkv = _linear(p["self_attn.in_proj_weight"], p["self_attn.in_proj_bias"], x)
        q, k, v = qkv.view(count, 3, heads, width // heads, length, batch).unbind(1)  # (S, heads, N / heads, T, B)
        scores = (q[..., :, None, :] * k[..., None, :, :]).sum(2) / math.sqrt(width // heads)
        shares = _dropped(scores.softmax(-2), masks[0])  # (S, heads, T, T, B)
        seen = (shares[:, :, None] * v[..., None, :, :]).sum(-2).flatten(1, 2)
        seen = _linear(p["self_attn.out_proj.weight"], p["self_attn.out_proj.bias"], seen)
        x = _normed(x + _dropped(seen, masks[1]), p["norm1.weight"], p["norm1.bias"])
        inner = _linear(p["linear1.weight"], p["linear1.bias"], x).relu()
        outer = _linear(p["linear2.weight"], p["linear2.bias"], _dropped(inner, masks[2]))
        return _normed(x + _dropped(outer, masks[3]), p["norm2.weight"], p["norm2.bias"])

    def _masks(self, count: int, length: int, batch: int, width: int, like: Tensor) -> Sequence[Tensor | None]:
        """Masks of all dropouts of a step, in their order: 0, or 1 over the share that is kept.

        An entry is drawn from 16 bits, so its probability is exact within 1e-5.
        """
        heads, feedforward = self._sizes
        shapes = [(count, rows, length, batch) for rows in (width, feedforward, width)]
        shapes = [(count, heads, length, length, batch), *shapes] * len(self.layers)  # type: ignore[list-item]
        sizes = [math.prod(shape) for shape in shapes]
        total = sum(sizes)
        draws = torch.empty(math.ceil(total / 4), dtype=torch.int64, device=like.device)
        bits = draws.random_(-(2**63), None).view(torch.int16)[:total]
        threshold = round(self._dropout * 2**16) - 2**15
        kept = (bits >= threshold).to(like.dtype).div_(1 - self._dropout)
        return [mask.view(shape) for mask, shape in zip(torch.split(kept, sizes), shapes, strict=True)]


def _within(parameters: StackedParameters, prefix: str) -> StackedParameters:
    """The parameters of a submodule, by their names in it."""
    return {name.removeprefix(prefix): value for name, value in parameters.items() if name.startswith(prefix)}


def _affine(weight: Tensor, bias: Tensor, x: Tensor) -> Tensor:
    """Linear maps (S, M, N) with biases (S, M) of x (S, B, N)."""
    return torch.baddbmm(bias[:, None], x, weight.transpose(1, 2))


def _linear(weight: Tensor, bias: Tensor, x: Tensor) -> Tensor:
    """Linear maps (S, M, N) with biases (S, M) of x (S, N, T, B)."""
    return torch.baddbmm(bias[:, :, None], weight, x.flatten(2)).view(*weight.shape[:2], *x.shape[2:])


def _dropped(x: Tensor, mask: Tensor | None) -> Tensor:
    return x if mask is None else x * mask


def _normed(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """Layer normalization over the second axis of (S, N, T, B)."""
    centered = x - x.mean(1, keepdim=True)
    scale = (centered.square().mean(1, keepdim=True) + 1e-5).rsqrt()
    return torch.addcmul(bias[:, :, None, None], centered * scale, weight[:, :, None, None])
