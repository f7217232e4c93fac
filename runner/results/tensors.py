"""What a comparison of tensors found, as plain data, and the columns of `tensors.csv`."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from runner.results.columns import Column, Row


@dataclass(frozen=True)
class TensorResult:
    """How one leaf compares.

    Magnitudes are None where there is no number to compare, or structure differs. The distances from the reference
    and the cosine are taken only where eager and backend aren't clearly within the tolerance. `num_differing` counts
    elements, of whole numbers only: how far apart two ids are says little. It is no column.
    """

    tensor: str
    ok: bool = True
    reason: str = ""
    shape: str = ""
    dtype: str = ""
    max_abs_err: float | None = None
    max_rel_err: float | None = None  # largest |eager - backend| / (scale + |eager|): comparable with the tolerance
    rmse: float | None = None
    rmse_eager: float | None = None
    rmse_backend: float | None = None
    rmse_allowed: float | None = None
    cosine: float | None = None
    num_differing: int | None = None

    def row(self) -> Row:
        """The values under the names of `TENSOR_COLUMNS`."""
        return {column.name: getattr(self, column.name) for column in TENSOR_COLUMNS}

    def excuses(self, found: TensorResult, multiplier: float) -> bool:
        """Whether this difference of eager's own is not much smaller than one that was found in the same tensor."""
        if self.rmse is None or found.rmse is None or found.max_abs_err == float("inf"):
            return False
        if found.num_differing is not None and found.num_differing > multiplier * (self.num_differing or 0):
            return False  # one id that is far off excuses no others
        return found.rmse <= multiplier * self.rmse


TENSOR_COLUMNS = (
    Column("tensor", str, "", "path of the tensor: step, kind, place in the output or name of the parameter"),
    Column("ok", bool, "", "whether the backend's tensor counts as right"),
    Column("reason", str, "", "why it does not"),
    Column("shape", str, "", "shape in eager, as 2x3"),
    Column("dtype", str, "", "dtype in eager"),
    Column("max_abs_err", float, "", "largest |eager - backend|"),
    Column("max_rel_err", float, "", "largest |eager - backend| / (scale + |eager|), scale being at most 1"),
    Column("rmse", float, "", "root mean square of eager - backend"),
    Column("rmse_eager", float, "", "root mean square of eager - reference"),
    Column("rmse_backend", float, "", "root mean square of backend - reference"),
    Column("rmse_allowed", float, "", "largest rmse_backend that counts as right"),
    Column("cosine", float, "", "cosine similarity of eager and backend"),
)


@dataclass(frozen=True)
class Comparison:
    """How two trees compare: all their tensors and floats, and whatever else differs."""

    tensors: tuple[TensorResult, ...] = ()

    @property
    def failures(self) -> tuple[TensorResult, ...]:
        """The leaves that differ."""
        return tuple(t for t in self.tensors if not t.ok)

    @property
    def ok(self) -> bool:
        """Whether all leaves count as equal."""
        return not self.failures

    @property
    def worst(self) -> TensorResult | None:
        """The leaf that differs most: failures first, structural ones before all."""
        return max(self.tensors, key=_badness, default=None)

    @property
    def worst_tensor(self) -> str:
        """Path of the worst leaf; empty where there is none."""
        return self.worst.tensor if self.worst else ""

    @property
    def max_abs_err(self) -> float | None:
        """Largest absolute error of all tensors."""
        return max((t.max_abs_err for t in self.tensors if t.max_abs_err is not None), default=None)

    @property
    def max_rel_err(self) -> float | None:
        """Largest relative error of all tensors."""
        return max((t.max_rel_err for t in self.tensors if t.max_rel_err is not None), default=None)

    @property
    def reason(self) -> str:
        """One sentence about the worst failure; empty when there is none."""
        if self.ok or self.worst is None:
            return ""
        count = len(self.failures)
        more = f" ({count} of {len(self.tensors)} tensors differ)" if count > 1 else ""
        return f"{self.worst.tensor or 'output'}: {self.worst.reason}{more}"

    def rows(self, failures_only: bool = False) -> list[Row]:
        """A row per leaf for `TENSOR_COLUMNS`."""
        return [t.row() for t in (self.failures if failures_only else self.tensors)]


def merge(comparisons: Iterable[Comparison]) -> Comparison:
    """One comparison over the leaves of several."""
    return Comparison(tuple(t for comparison in comparisons for t in comparison.tensors))


def _badness(result: TensorResult) -> tuple[bool, bool, float]:
    return not result.ok, result.max_rel_err is None and not result.ok, result.max_rel_err or 0.0
