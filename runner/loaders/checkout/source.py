"""What the source of a checkout's model says: batch sizes, packages, data, device. Nothing of it is imported."""

from __future__ import annotations

import ast
import importlib.util
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

#: How an installation names what it fetches from upstream's store: an archive of data, a file in a model's folder.
_ARCHIVE, _FILE = "INPUT_TARBALLS", "MODEL_PKLS"
#: How the names of files with weights end.
WEIGHTS = (".pth", ".pt", ".pkl", ".bin")
#: What makes an import one that may fail.
_FORGIVING = {"ImportError", "ModuleNotFoundError", "Exception", "BaseException"}
#: Bases are looked for in so many files above a model's own.
_DEEPEST = 8


@dataclass(frozen=True)
class Source:
    """The source of the model with the import name `package` in the checkout `root`."""

    root: Path
    package: str

    @property
    def folder(self) -> Path:
        """The model's own folder."""
        return self.root.joinpath(*self.package.split("."))

    def batch_size(self, attribute: str) -> int | None:
        """A number that the class `Model`, or else one that it comes from, has as a class attribute."""
        module, name = self.package, "Model"
        for _ in range(_DEEPEST):
            found = _class(self._tree(module), name)
            value = found and _assigned(found, attribute)
            if value or found is None or not found.bases or not isinstance(found.bases[0], ast.Name):
                number = getattr(value, "value", None)
                return number if isinstance(number, int) else None
            name = found.bases[0].id
            module = self._origin(module, name)
        return None

    def missing_packages(self) -> tuple[str, ...]:
        """Packages that are not installed, of those that importing the model imports, in the order of their import."""
        packages = dict.fromkeys(name.partition(".")[0] for name in self._reached(self.package, set()))
        return tuple(name for name in packages if not _installed(name) and not self._has(name))

    def needs_gpu(self) -> bool:
        """Whether `Model` says NotImplementedError wherever there is no GPU, in each mode."""
        found = _class(self._tree(self.package), "Model")
        tests = [] if found is None else [node for node in ast.walk(found) if isinstance(node, ast.If)]
        return any(_on_cpu(node.test) and _gives_up(node.body) for node in tests)

    def fetched(self) -> tuple[str, ...]:
        """What the model's installation fetches and the checkout does not hold: archives, files, weights."""
        module = f"{self.package}.install"
        own = self._tree(module)
        places = dict(_stored(own))
        for name in _imports(own, module, is_package=False):
            places |= dict(_stored(self._tree(name if self._file(name) else name.rpartition(".")[0])))
        links = [c for c in _texts(own) if c.startswith("https://") and self._weights(c)]
        absent = [name for name, kind in places.items() if not self._place(name, kind).exists()]
        return tuple(dict.fromkeys([*absent, *(link.rpartition("/")[2] for link in links)]))

    def _weights(self, link: str) -> bool:
        """Whether a link leads to weights that are not in the model's folder."""
        name = link.rpartition("/")[2]
        return name.endswith(WEIGHTS) and not (self.folder / ".data" / name).exists()

    def _place(self, name: str, kind: str) -> Path:
        inside = self.root / "torchbenchmark"
        return inside / "models" / name if kind == _FILE else inside / "data" / ".data" / name.removesuffix(".tar.gz")

    def _reached(self, module: str, seen: set[str]) -> Iterator[str]:
        """Names that importing the module imports, whoever does it; those of the checkout are followed, not given."""
        for name in _prefixes(module):
            if name in seen:
                continue
            seen.add(name)
            path = self._file(name)
            if path is None:
                if self.root.joinpath(*name.split(".")).is_dir():
                    continue  # a package without a file of its own
                yield name
                return
            for imported in _imports(_tree(path), name, is_package=path.name == "__init__.py"):
                yield from self._reached(imported, seen)

    def _origin(self, module: str, name: str) -> str:
        """The module that gives `name` to a module of the checkout; itself where the name is its own."""
        path = self._file(module)
        is_package = path is not None and path.name == "__init__.py"
        for node in self._tree(module).body:
            if isinstance(node, ast.ImportFrom) and name in {a.asname or a.name for a in node.names}:
                return _absolute(node, module, is_package=is_package)
        return module

    def _has(self, package: str) -> bool:
        """Whether the checkout has such a module, in its root or in a folder that the model may add to the path."""
        places = [self.root / package, self.root / f"{package}.py"]
        own = (found for form in (package, f"{package}.py") for found in self.folder.rglob(form))
        return any(place.exists() for place in places) or any(own)

    def _tree(self, module: str) -> ast.Module:
        path = self._file(module)
        return _tree(path) if path else ast.Module([], [])

    def _file(self, module: str) -> Path | None:
        path = self.root.joinpath(*module.split("."))
        choices = (path / "__init__.py", path.with_name(f"{path.name}.py"))
        return next((choice for choice in choices if choice.is_file()), None)


@lru_cache(maxsize=1024)
def _tree(path: Path) -> ast.Module:
    """A file's syntax tree; an empty one for what Python can't read, which a run says better."""
    try:
        return ast.parse(path.read_bytes())
    except (SyntaxError, ValueError):
        return ast.Module([], [])


def _imports(tree: ast.Module, module: str, *, is_package: bool) -> Iterator[str]:
    """Names that a module imports, come what may; so not those within `if`, `with`, functions and forgiving `try`."""
    for node in _certain(tree.body):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = _absolute(node, module, is_package=is_package)
            yield from (f"{base}.{alias.name}" for alias in node.names)


def _certain(body: list[ast.stmt]) -> Iterator[ast.stmt]:
    for node in body:
        if isinstance(node, ast.Try):
            yield from () if any(map(_forgives, node.handlers)) else _certain(node.body)
        else:
            yield node


def _forgives(handler: ast.ExceptHandler) -> bool:
    names = ast.walk(handler.type) if handler.type else [ast.Name("Exception")]
    return any(isinstance(name, ast.Name) and name.id in _FORGIVING for name in names)


def _absolute(node: ast.ImportFrom, module: str, *, is_package: bool) -> str:
    """The module that an import names, from within `module`."""
    if not node.level:
        return node.module or ""
    parts = module.split(".")
    base = parts[: len(parts) - node.level + is_package]
    return ".".join([*base, *([node.module] if node.module else [])])


def _prefixes(module: str) -> Iterator[str]:
    parts = module.split(".")
    return (".".join(parts[: i + 1]) for i in range(len(parts)))


def _installed(package: str) -> bool:
    return package in sys.modules or importlib.util.find_spec(package) is not None


def _class(tree: ast.Module, name: str) -> ast.ClassDef | None:
    return next((node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == name), None)


def _assigned(found: ast.ClassDef, attribute: str) -> ast.expr | None:
    """What a class assigns to its attribute; None where it leaves that to its bases."""
    for node in found.body:
        targets = getattr(node, "targets", [getattr(node, "target", None)])
        if any(isinstance(target, ast.Name) and target.id == attribute for target in targets):
            return getattr(node, "value", None)
    return None


def _stored(tree: ast.Module) -> Iterator[tuple[str, str]]:
    """(name, kind) of what a call in the module fetches from upstream's store."""
    for node in ast.walk(tree):
        given = [a.value for a in node.args if isinstance(a, ast.Constant)] if isinstance(node, ast.Call) else []
        if len(given) > 1 and given[0] in (_ARCHIVE, _FILE):
            yield str(given[1]), str(given[0])


def _texts(tree: ast.Module) -> Iterator[str]:
    return (n.value for n in ast.walk(tree) if isinstance(n, ast.Constant) and isinstance(n.value, str))


def _gives_up(body: list[ast.stmt]) -> bool:
    """Whether the first statement raises NotImplementedError, or returns one as some models do."""
    value = getattr(body[0], "exc", None) or getattr(body[0], "value", None)
    name = getattr(value, "func", value)
    return isinstance(name, ast.Name) and name.id == "NotImplementedError"


def _on_cpu(test: ast.expr) -> bool | None:
    """Value of a condition where the device is a CPU and there is no GPU; None where it asks for other things."""
    if isinstance(test, ast.UnaryOp) and isinstance(test.op, ast.Not):
        inner = _on_cpu(test.operand)
        return None if inner is None else not inner
    if isinstance(test, ast.BoolOp):
        values, decides = [_on_cpu(value) for value in test.values], isinstance(test.op, ast.Or)
        return decides if decides in values else None if None in values else not decides
    if isinstance(test, ast.Compare) and len(test.ops) == 1:
        return _compared(_word(test.left), test.ops[0], _word(test.comparators[0]))
    if isinstance(test, ast.Call) and ast.unparse(test.func) == "torch.cuda.is_available":
        return False
    return None


def _compared(left: str | None, operator: ast.cmpop, right: str | None) -> bool | None:
    if left is None or right is None:
        return None
    if isinstance(operator, (ast.In, ast.NotIn)):
        return (left in right) == isinstance(operator, ast.In)
    return (left == right) == isinstance(operator, ast.Eq) if isinstance(operator, (ast.Eq, ast.NotEq)) else None


def _word(node: ast.expr) -> str | None:
    """A text, or what `device` and `self.device` are."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    return "cpu" if getattr(node, "id", getattr(node, "attr", None)) == "device" else None
