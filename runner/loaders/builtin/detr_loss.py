"""The loss of detr: each object is matched with one query by the Hungarian method, then classes and boxes compared.

Matching is an operator of its own, so that it works on what lies beneath torch.func's wrappers and in compiled code.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from scipy.optimize import linear_sum_assignment
from torch.nn import functional

_CLASS_COST, _BOX_COST, _OVERLAP_COST = 1.0, 5.0, 2.0
#: What the parts of the loss count; that of the number of objects has no gradient and is only watched.
_WEIGHTS = {"labels": 1.0, "boxes": 5.0, "overlap": 2.0, "cardinality": 0.0}
_NOTHING_WEIGHT = 0.1  # of queries that found nothing


@dataclass(frozen=True, eq=False)
class Objects:
    """What is in an image: `labels` [K] and `corners` [K, 4] (left, upper, right, lower)."""

    labels: torch.Tensor
    corners: torch.Tensor


@torch.library.custom_op("torch_benchmark_runner::assign", mutates_args=(), schema="(Tensor cost) -> Tensor")
def assign(cost: torch.Tensor) -> torch.Tensor:
    """For each column of `cost` [rows, columns] the row it is matched with, at the least sum: int64 [columns]."""
    rows, columns = linear_sum_assignment(cost.detach().cpu().numpy())
    matched = torch.empty(cost.shape[1], dtype=torch.int64)
    matched[torch.from_numpy(columns)] = torch.from_numpy(rows)
    return matched.to(cost.device)


@assign.register_fake
def _(cost: torch.Tensor) -> torch.Tensor:
    return cost.new_empty(cost.shape[1], dtype=torch.int64)


@dataclass(frozen=True, eq=False)
class SetLoss:
    """Loss of (logits [B, Q, classes + 1], boxes [B, Q, 4]) for the objects of each image."""

    objects: Sequence[Objects]
    nothing: int  # the class of a query that found nothing

    def __call__(self, output: tuple[torch.Tensor, torch.Tensor]) -> torch.Tensor:
        """The weighted sum of the parts."""
        logits, boxes = output
        parts = [self._of_image(*found) for found in zip(logits, boxes, self.objects, strict=True)]
        count = sum(len(objects.labels) for objects in self.objects)
        losses = {
            "labels": self._labels(logits, torch.stack([part[0] for part in parts])),
            "boxes": torch.stack([part[1] for part in parts]).sum() / count,
            "overlap": torch.stack([part[2] for part in parts]).sum() / count,
            "cardinality": self._cardinality(logits),
        }
        return torch.stack([_WEIGHTS[name] * loss for name, loss in losses.items()]).sum()

    def _of_image(
        self, logits: torch.Tensor, boxes: torch.Tensor, objects: Objects
    ) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Class that each query should have, and the two sums over the matched boxes."""
        corners = objects.corners.to(boxes.dtype)
        match = assign(_cost(logits.detach(), boxes.detach(), objects.labels, corners))
        background = torch.full_like(match[:1], self.nothing).expand(len(logits))
        wanted = background.scatter(0, match, objects.labels)
        matched = boxes[match]
        distance = (matched - _centred(corners)).abs().sum()
        return wanted, distance, (1 - _overlap(_cornered(matched), corners)).sum()

    def _labels(self, logits: torch.Tensor, wanted: torch.Tensor) -> torch.Tensor:
        ones = logits.new_ones(logits.shape[-1] - 1)
        weights = torch.cat((ones, _NOTHING_WEIGHT * ones[:1]))
        return functional.cross_entropy(logits.flatten(0, 1), wanted.flatten(), weight=weights)

    def _cardinality(self, logits: torch.Tensor) -> torch.Tensor:
        """Mean error of the number of objects."""
        found = (logits.detach().argmax(dim=-1) != self.nothing).sum(dim=-1)
        real = found.new_tensor([len(objects.labels) for objects in self.objects])
        return (found - real).abs().to(logits.dtype).mean()


def _cost(logits: torch.Tensor, boxes: torch.Tensor, labels: torch.Tensor, corners: torch.Tensor) -> torch.Tensor:
    """[Q, K]: what it costs to match query with object."""
    likelihood = logits.softmax(dim=-1)[:, labels]
    distance = (boxes[:, None] - _centred(corners)).abs().sum(dim=-1)
    overlap = _overlap(_cornered(boxes)[:, None], corners)
    return _BOX_COST * distance - _CLASS_COST * likelihood - _OVERLAP_COST * overlap


def _cornered(boxes: torch.Tensor) -> torch.Tensor:
    """Centre, width and height to corners, in the last dimension."""
    centre, half = boxes[..., :2], boxes[..., 2:] / 2
    return torch.cat((centre - half, centre + half), dim=-1)


def _centred(corners: torch.Tensor) -> torch.Tensor:
    """Corners to centre, width and height, in the last dimension."""
    first, last = corners[..., :2], corners[..., 2:]
    return torch.cat(((first + last) / 2, last - first), dim=-1)


def _overlap(one: torch.Tensor, other: torch.Tensor) -> torch.Tensor:
    """Generalised intersection over union (Rezatofighi et al. 2019) of boxes given by corners, broadcast."""
    first, last = torch.maximum(one[..., :2], other[..., :2]), torch.minimum(one[..., 2:], other[..., 2:])
    shared = (last - first).clamp(min=0).prod(dim=-1)
    union = _area(one) + _area(other) - shared
    hull = (torch.maximum(one[..., 2:], other[..., 2:]) - torch.minimum(one[..., :2], other[..., :2])).prod(dim=-1)
    return shared / union - (hull - union) / hull


def _area(corners: torch.Tensor) -> torch.Tensor:
    return (corners[..., 2:] - corners[..., :2]).prod(dim=-1)
