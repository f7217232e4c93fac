"""basic_gnn_*: three layers of a graph network with 64 channels, each of four published kinds, in plain torch.

Messages are gathered by edge and put together by index: what a compiler has to do without a graph library.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from runner.loaders._building import Order, Parts
from runner.loaders._losses import SquaredError

_NODES, _EDGES = 10_000, 200_000
_CHANNELS, _LAYERS = 64, 3


class GraphConv(nn.Module):
    """Kipf and Welling 2017: the mean of the neighbours and oneself, weighted by both ends' degrees."""

    def __init__(self) -> None:
        """One matrix and a bias."""
        super().__init__()
        self.linear = nn.Linear(_CHANNELS, _CHANNELS, bias=False)
        self.bias = nn.Parameter(torch.zeros(_CHANNELS))

    def forward(self, x: torch.Tensor, edges: torch.Tensor) -> torch.Tensor:
        """Nodes [N, 64] and edges [2, E], from the first row to the second, to nodes [N, 64]."""
        itself = torch.arange(len(x), device=x.device)
        source, target = torch.cat((edges, itself.expand(2, -1)), dim=1)
        scale = summed(x.new_ones(len(target)), target, len(x)).rsqrt()
        messages = self.linear(x)[source] * (scale[source] * scale[target])[:, None]
        return summed(messages, target, len(x)) + self.bias


class IsomorphismConv(nn.Module):
    """GIN of Xu et al. 2019: a small network of the sum of the neighbours and oneself."""

    def __init__(self) -> None:
        """Two linear layers."""
        super().__init__()
        self.network = _network(_CHANNELS)

    def forward(self, x: torch.Tensor, edges: torch.Tensor) -> torch.Tensor:
        """As GraphConv."""
        output: torch.Tensor = self.network(x + summed(x[edges[0]], edges[1], len(x)))
        return output


class SampleConv(nn.Module):
    """GraphSAGE of Hamilton et al. 2017: the mean of the neighbours, and oneself, each with its own matrix."""

    def __init__(self) -> None:
        """Two matrices and a bias."""
        super().__init__()
        self.neighbours = nn.Linear(_CHANNELS, _CHANNELS)
        self.itself = nn.Linear(_CHANNELS, _CHANNELS, bias=False)

    def forward(self, x: torch.Tensor, edges: torch.Tensor) -> torch.Tensor:
        """As GraphConv."""
        source, target = edges
        count = summed(x.new_ones(len(target)), target, len(x)).clamp(min=1)
        mean = summed(x[source], target, len(x)) / count[:, None]
        output: torch.Tensor = self.neighbours(mean) + self.itself(x)
        return output


class EdgeConv(nn.Module):
    """Wang et al. 2019: the largest, over the neighbours, of a small network of oneself and the difference."""

    def __init__(self) -> None:
        """Two linear layers, the first of twice the width."""
        super().__init__()
        self.network = _network(2 * _CHANNELS)

    def forward(self, x: torch.Tensor, edges: torch.Tensor) -> torch.Tensor:
        """As GraphConv."""
        source, target = edges
        messages = self.network(torch.cat((x[target], x[source] - x[target]), dim=-1))
        places = target[:, None].expand_as(messages)
        return x.new_zeros(x.shape).scatter_reduce(0, places, messages, "amax", include_self=False)


_KINDS: dict[str, Callable[[], nn.Module]] = {
    kind.__name__: kind for kind in (GraphConv, IsomorphismConv, SampleConv, EdgeConv)
}


class GraphNet(nn.Module):
    """Layers of one kind with ReLU between them."""

    def __init__(self, layer: str) -> None:
        """`layer` is the name of a class above."""
        super().__init__()
        self.layers = nn.ModuleList(_KINDS[layer]() for _ in range(_LAYERS))

    def forward(self, x: torch.Tensor, edges: torch.Tensor) -> torch.Tensor:
        """Nodes [N, 64] and edges [2, E] to nodes [N, 64]."""
        for i, layer in enumerate(self.layers):
            x = layer(x.relu() if i else x, edges)
        return x


def summed(values: torch.Tensor, target: torch.Tensor, nodes: int) -> torch.Tensor:
    """The sum of `values` [E, ...] that arrive at each node, [nodes, ...]."""
    return values.new_zeros(nodes, *values.shape[1:]).index_add(0, target, values)


def _network(inputs: int) -> nn.Module:
    return nn.Sequential(nn.Linear(inputs, _CHANNELS), nn.ReLU(), nn.Linear(_CHANNELS, _CHANNELS))


def build(order: Order, layer: str) -> Parts:
    """B separate random graphs of 10 000 nodes and 200 000 edges; squared error against random node values."""
    graphs = torch.arange(order.batch_size, device=order.device).repeat_interleave(_EDGES) * _NODES
    edges = order.draw.integers(0, _NODES, 2, order.batch_size * _EDGES) + graphs
    nodes = order.draw.normal(order.batch_size * _NODES, _CHANNELS)
    return Parts(GraphNet(layer), (nodes, edges), loss=SquaredError(order.draw.normal(*nodes.shape)))
