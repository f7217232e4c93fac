"""The compiler's graphs as readable files, and which operators they call how often."""

from __future__ import annotations

import ast
import re
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum

from runner.compiling.trace_log import Record


class Level(str, Enum):
    """How far down the compiler a graph is looked at."""

    dynamo = "dynamo"  # what dynamo captured: torch's functions and methods
    aot = "aot"  # after AOT autograd: aten operators, forward and backward
    inductor = "inductor"  # after inductor's passes on that
    code = "code"  # what inductor wrote: kernels and the code that calls them


#: Records of torch's structured trace that hold the graphs of a level.
_RECORDS = {
    Level.dynamo: ("dynamo_output_graph",),
    Level.aot: ("aot_forward_graph", "aot_inference_graph", "aot_backward_graph"),
    Level.inductor: ("inductor_post_grad_graph",),
    Level.code: ("inductor_output_code",),
}
#: AOT autograd's name for the gradients that come in, which only a backward graph has.
_TANGENTS = re.compile(r"\btangents_\d+\b")
#: How torch prints the class of a graph that has no name of its own.
_ANONYMOUS = re.compile(r"^class <\w+>", re.MULTILINE)
_KERNEL = re.compile(r"^(extern_kernels\.|aten\.|torch\.ops\.|cpp_|triton_|.*\.run$)")
_SYMBOLS = {
    ast.Add: "add", ast.Sub: "sub", ast.Mult: "mul", ast.Div: "truediv", ast.FloorDiv: "floordiv", ast.Mod: "mod",
    ast.Pow: "pow", ast.MatMult: "matmul", ast.LShift: "lshift", ast.RShift: "rshift", ast.BitAnd: "and_",
    ast.BitOr: "or_", ast.BitXor: "xor", ast.USub: "neg", ast.UAdd: "pos", ast.Invert: "invert", ast.Not: "not_",
    ast.Eq: "eq", ast.NotEq: "ne", ast.Lt: "lt", ast.LtE: "le", ast.Gt: "gt", ast.GtE: "ge", ast.Is: "is_",
    ast.IsNot: "is_not", ast.In: "contains",
}  # fmt: skip


@dataclass(frozen=True)
class GraphFile:
    """One graph: where its text goes and what it says. `direction` is forward or backward."""

    name: str
    direction: str
    text: str


def graph_files(records: Iterable[Record], level: Level) -> list[GraphFile]:
    """The graphs of a level in the order in which they were made."""
    names: Counter[str] = Counter()
    found = []
    for record in records:
        if record.name not in _RECORDS[level]:
            continue
        backward = "backward" in record.name or record.is_compiled_autograd or _TANGENTS.search(record.text)
        direction = "backward" if backward else "forward"
        stem = "_".join(filter(None, (level.value, record.compile_id.replace("/", "-"), direction)))
        names[stem] += 1
        number = f"_{names[stem]}" if names[stem] > 1 else ""
        found.append(GraphFile(f"{stem}{number}.py", direction, record.text))
    return found


def operators(text: str, level: Level) -> Counter[str]:
    """Calls per operator in a graph's text; raises SyntaxError where the text is not Python.

    A call is a statement of a graph's `forward`, or for `code` a call of a kernel in its `call`.
    """
    tree = ast.parse(_ANONYMOUS.sub("class Graph", text))
    wanted = "call" if level is Level.code else "forward"
    functions = [node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef) and node.name == wanted]
    read = _kernels if level is Level.code else _statements
    return Counter(name for function in functions for name in read(function))


def _kernels(function: ast.FunctionDef) -> Iterator[str]:
    for node in ast.walk(function):
        if isinstance(node, ast.Call):
            name = ast.unparse(node.func)
            if _KERNEL.match(name):
                yield name.removesuffix(".run")


def _statements(function: ast.FunctionDef) -> Iterator[str]:
    """What each statement calls; names of variables, constants and attributes call nothing."""
    variables = {argument.arg for argument in function.args.args}
    for statement in function.body:
        if isinstance(statement, ast.AugAssign):
            yield f"operator.i{_SYMBOLS[type(statement.op)]}"
        value = statement.value if isinstance(statement, (ast.Assign, ast.AnnAssign, ast.Expr)) else None
        name = _called(value, variables)
        if name and not name.startswith("fx_pytree."):
            yield name
        targets = statement.targets if isinstance(statement, ast.Assign) else [getattr(statement, "target", None)]
        variables |= {target.id for target in targets if isinstance(target, ast.Name)}


def _called(value: ast.expr | None, variables: set[str]) -> str | None:
    if isinstance(value, ast.Call):
        return _function(value.func, variables)
    if isinstance(value, ast.Subscript):
        return "operator.getitem"
    if isinstance(value, (ast.BinOp, ast.UnaryOp)) and not isinstance(getattr(value, "operand", None), ast.Constant):
        return f"operator.{_SYMBOLS[type(value.op)]}"
    return f"operator.{_SYMBOLS[type(value.ops[0])]}" if isinstance(value, ast.Compare) else None


def _function(function: ast.expr, variables: set[str]) -> str:
    """`torch.ops.aten.mul.Tensor`, `Tensor.view` for a method of a variable, `self.layer` for a module."""
    root = function
    while isinstance(root, (ast.Attribute, ast.Subscript, ast.Call)):
        root = root.func if isinstance(root, ast.Call) else root.value
    is_method = isinstance(root, ast.Name) and root.id in variables - {"self"} and isinstance(function, ast.Attribute)
    return f"Tensor.{function.attr}" if is_method else ast.unparse(function)  # type: ignore[attr-defined]
