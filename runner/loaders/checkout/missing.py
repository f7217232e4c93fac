"""From what a model's code raised to what it lacks: a package, data, weights, the network or a GPU."""

from __future__ import annotations

import importlib.util
import re
import sys
from collections.abc import Sequence
from pathlib import Path

from runner.errors import Unsupported
from runner.loaders.checkout.network import Offline
from runner.loaders.checkout.source import WEIGHTS, Source
from runner.worker.failure import PIP_NAMES, causes, message_of

_OLD_GEOMETRIC = "'torch_geometric<2.5'"  # the last with a module `compile`, which TorchBench's models look into
#: What pip is to be told for packages of TorchBench's models whose import name it does not know.
_PIP = {
    **PIP_NAMES,
    "detectron2": "git+https://github.com/facebookresearch/detectron2.git",
    "doctr": "python-doctr",
    "effdet": "effdet",
    "fastNLP": "fastNLP",
    "segment_anything_fast": "git+https://github.com/pytorch-labs/segment-anything-fast.git",
    "skimage": "scikit-image",
    "torch_geometric": _OLD_GEOMETRIC,
    "torchmultimodal": "torchmultimodal-nightly",
    "unidecode": "Unidecode",
}
_NO_GPU = re.compile(
    r"Torch not compiled with CUDA|Found no NVIDIA driver|No CUDA GPUs are available|CUDA is not available|"
    r"device type of torch.device.*cuda|NCCL|no NVIDIA GPU|invalid device ordinal",
    re.IGNORECASE,
)
_NO_DATA = re.compile(r"Failed to download data|run install.py|torchbenchmark\.util\.framework\.fb")
_NO_NETWORK = re.compile(
    r"offline mode|Can.t load [\w ]+ for|couldn't connect to|local_files_only|LocalEntryNotFound|Max retries exceeded|"
    r"Temporary failure in name resolution|urlopen error|no network at run time",
    re.IGNORECASE,
)
_FROM_HUB = re.compile(r"Can.t load (?P<what>[\w ]+) for '(?P<name>[^']+)'")


def explained(error: Exception, name: str, source: Source, hosts: list[str]) -> Unsupported | None:
    """What is missing, or None where the model's own code is at fault.

    `hosts` are the machines that were asked for while the network was closed.
    """
    chain = list(causes(error))
    chain += [e.__context__ for e in chain if e.__context__ is not None]
    for cause in chain:
        text = _explanation(cause, name, source, hosts)
        if text:
            return Unsupported(text)
    return None


def needed(packages: Sequence[str]) -> str:
    """The sentence for packages that are not installed, with the pip command; "" for none."""
    if not packages:
        return ""
    pip = " ".join(_PIP.get(package, package) for package in packages)
    return f"needs the package{'s' if len(packages) > 1 else ''} {', '.join(packages)}: pip install {pip}"


def _explanation(error: BaseException, name: str, source: Source, hosts: list[str]) -> str:  # noqa: PLR0911 - a table
    text = message_of(error)
    if isinstance(error, Unsupported):
        return text
    if isinstance(error, NotImplementedError):
        return text.strip() or f"{name} does not implement this device or mode"
    if _NO_DATA.search(text):  # the last is a downloader that only its owner has
        return f"needs {_files(source.fetched()) or f'the data or weights of {name}'}: {_install(name)}"
    if isinstance(error, ModuleNotFoundError):
        return _package(error, name, source)
    if isinstance(error, FileNotFoundError):
        return _data(error, name, source.root)
    if isinstance(error, KeyError) and error.args == ("torch_geometric.compile",):
        return f"needs an older torch_geometric: pip install {_OLD_GEOMETRIC}"
    if isinstance(error, Offline) or _NO_NETWORK.search(text):
        wanted = f" ({', '.join(dict.fromkeys(hosts))})" if hosts else ""
        return f"needs the network{wanted} for weights, configurations or data: {_from_hub(text)}"
    if isinstance(error, (RuntimeError, AssertionError)) and _NO_GPU.search(text):
        return f"needs a CUDA device: {text}"
    return ""


def _from_hub(text: str) -> str:
    """What transformers would have fetched; its own sentence goes on about folders of that name."""
    found = _FROM_HUB.search(text)
    return f"the {found['what']} {found['name']} from Hugging Face's hub" if found else text


def _package(error: ModuleNotFoundError, name: str, source: Source) -> str:
    """The pip command for all packages that are not installed, and the data that would be missed next.

    Nothing for a module that its package lacks.
    """
    package = (error.name or "").partition(".")[0]
    if not package or package in sys.modules or importlib.util.find_spec(package):
        return ""
    text = needed(tuple(dict.fromkeys([package, *source.missing_packages()])))
    fetched = source.fetched()
    return f"{text}; and {_files(fetched)}: {_install(name)}" if fetched else text


def _files(fetched: Sequence[str]) -> str:
    """The data and weights of these names."""
    data = [one for one in fetched if not one.endswith(WEIGHTS) or "/" in one]
    weights = [one for one in fetched if one not in data]
    words = [f"the {what} {', '.join(names)}" for what, names in (("data", data), ("weights", weights)) if names]
    return " and ".join(words)


def _install(name: str) -> str:
    return f"run python install.py {name} in the checkout, with network"


def _data(error: FileNotFoundError, name: str, root: Path) -> str:
    """The file that the model's installation would have put into the checkout."""
    path = Path(str(error.filename)) if error.filename else None
    if path is None:
        return ""
    shown = path.relative_to(root) if path.is_relative_to(root) else path
    return f"needs the data {shown}: {_install(name)}"
