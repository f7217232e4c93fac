"""Which values an operator's arguments may have: tables by operator and by the argument's name in its schema."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from typing import Any

#: Arguments by their schema's name that hold standard deviations, variances or counts, whatever the operator.
POSITIVE_ARGUMENTS = frozenset(
    {
        *("running_var", "save_var", "save_invstd", "invstd", "rstd", "total_weight", "variance"),
        *("exp_avg_sqs", "max_exp_avg_sqs", "state_steps", "count", "counts"),
    }
)
#: Operators of which the first argument has to be positive.
POSITIVE_SELF = frozenset(
    {
        *("log", "log2", "log10", "log1p", "sqrt", "rsqrt", "reciprocal", "pow", "lgamma", "digamma", "multinomial"),
        *("_foreach_sqrt", "_foreach_log", "_foreach_pow", "_foreach_rsqrt", "_foreach_reciprocal", "poisson"),
    }
)
#: Operators that divide: every argument but the first one stays away from zero.
DIVIDING = frozenset(
    {
        *("div", "true_divide", "floor_divide", "remainder", "fmod", "divide", "_foreach_div", "floor_divide_"),
        *("addcdiv", "_foreach_addcdiv"),
    }
)
#: Operators of which all arguments are probabilities.
PROBABILITIES = frozenset({"binary_cross_entropy", "binary_cross_entropy_backward", "bernoulli", "logit"})
#: Operators of which all arguments lie between -1 and 1.
UNIT = frozenset({"acos", "asin", "atanh", "erfinv", "grid_sampler_2d", "grid_sampler_3d"})
#: Operators of which the first argument is a symmetric positive definite matrix, and those that need it regular.
SYMMETRIC = frozenset(
    {"linalg_eigh", "_linalg_eigh", "cholesky", "linalg_cholesky_ex", "cholesky_inverse", "linalg_eigvalsh"}
)
REGULAR = frozenset(
    {
        *("linalg_inv_ex", "inverse", "linalg_solve_ex", "_linalg_solve_ex", "_linalg_det", "_linalg_slogdet"),
        *("linalg_lu_factor_ex", "linalg_solve_triangular", "triangular_solve", "linalg_lu"),
    }
)
#: A whole number of which nothing is known is between 0 and this, inclusive.
USUAL_HIGH = 9

Arguments = Mapping[str, Any]


def base(packet: str) -> str:
    """`relu_` works in place and is otherwise `relu`."""
    return packet[:-1] if packet.endswith("_") and not packet.endswith("__") else packet


def interval(packet: str, argument: str, first: bool) -> tuple[float, float] | None:
    """Bounds of a floating argument; None for values around zero. `first`: it is the operator's first argument."""
    name = base(packet)
    if argument in POSITIVE_ARGUMENTS or (name in POSITIVE_SELF and first) or (name in DIVIDING and not first):
        return 0.5, 2.0
    if name in PROBABILITIES:
        return 0.05, 0.95
    return (-1.0, 1.0) if name in UNIT else None


def limit(packet: str, argument: str, given: Arguments) -> int | None:
    """Number of values that an index argument may have, counted from 0; None where the argument is no index.

    `given` are the operator's arguments by name; tensors in it have `size`.
    """
    rule = _LIMITS.get((base(packet), argument))
    return None if rule is None else max(1, rule(given))


def group_ends(packet: str, argument: str, given: Arguments, groups: int) -> list[int] | None:
    """Where each of the groups ends that a grouped product multiplies by a matrix of its own; None for all else.

    All groups are as large as each other, and the last one ends where the rows do: a row of no group has no result.
    """
    if packet != "_grouped_mm" or argument != "offs":
        return None
    first, second = (given[name].size for name in ("self", "mat2"))
    total = int(second[-1] if len(first) == 3 else first[-2] if len(second) == 3 else first[-1])
    return [total * (i + 1) // groups for i in range(groups)]


def _along(tensor: str, dim: str) -> Callable[[Arguments], int]:
    def size(given: Arguments) -> int:
        sizes = given[tensor].size
        return int(sizes[given[dim]]) if sizes else 1

    return size


def _rows(tensor: str) -> Callable[[Arguments], int]:
    return lambda given: int(given[tensor].size[0])


def _classes(given: Arguments) -> int:
    sizes = given["self"].size
    return int(sizes[0] if len(sizes) == 1 else sizes[1])


def _elements(given: Arguments) -> int:
    return math.prod(given["self"].size)


_ALONG_SELF = _along("self", "dim")
_LIMITS: Mapping[tuple[str, str], Callable[[Arguments], int]] = {
    ("embedding", "indices"): _rows("weight"),
    ("embedding_renorm", "indices"): _rows("self"),
    ("embedding_dense_backward", "indices"): lambda given: int(given["num_weights"]),
    ("_embedding_bag", "indices"): _rows("weight"),
    ("_embedding_bag_forward_only", "indices"): _rows("weight"),
    ("_embedding_bag_per_sample_weights_backward", "indices"): _rows("weight"),
    ("_embedding_bag_dense_backward", "indices"): lambda given: int(given["num_weights"]),
    ("take", "index"): _elements,
    ("put", "index"): _elements,
    **{
        (name, "index"): _ALONG_SELF
        for name in (
            *("index_select", "index_add", "index_copy", "index_fill", "index_reduce", "gather"),
            *("scatter", "scatter_add", "scatter_reduce"),
        )
    },
    **{
        (name, "target"): _classes
        for name in ("nll_loss_forward", "nll_loss_backward", "nll_loss2d_forward", "nll_loss2d_backward")
    },
}
#: Index arguments whose places must differ, so that what is written there does not depend on the order of writing.
DISTINCT = frozenset(
    {"index_copy", "index_fill", "scatter", "index_put", "_index_put_impl", "put", "_unsafe_index_put"}
)
