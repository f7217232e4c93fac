"""Random weights in the place of pretrained ones, for models whose code asks for those by name.

A pretrained state is a token here, which every module takes for loaded; what asks a hub for a configuration is given
that of the same architecture. The libraries are patched for as long as the model is built, the checkout never is.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

from runner.errors import Unsupported
from runner.loaders._published import PUBLISHED

#: Some models refuse to be built without it, for the sake of weights that are not fetched here.
_TOKEN = "HUGGING_FACE_HUB_TOKEN"


class Pretrained(dict[str, Any]):
    """Stands for a state that would have been fetched."""


class Replaced:
    """Notes what was made random, in `names`, and patches what has been imported."""

    def __init__(self, stack: ExitStack) -> None:
        """`stack` takes the patches back."""
        self.names: list[str] = []
        self.active = True
        self._stack = stack

    def state(self, name: Any) -> Pretrained:
        """A token for the state `name`."""
        self.names.append(str(name))
        return Pretrained()

    def patch_libraries(self) -> None:
        """Patch those libraries of models that are imported by now: the others are none of this model's."""
        for name, function in {"torchvision": _torchvision, "timm": _timm, "transformers": _transformers}.items():
            if name in sys.modules:
                function(self._stack, self)


@contextmanager
def random_weights() -> Iterator[Replaced]:
    """Inside, states of torch.hub are tokens, and so are those of other libraries after `patch_libraries`."""
    import torch

    with ExitStack() as stack:
        replaced = Replaced(stack)
        stack.enter_context(patch.dict(os.environ, {_TOKEN: os.environ.get(_TOKEN, "none")}))
        _torch(stack, replaced, torch)
        try:
            yield replaced
        finally:
            replaced.active = False


def _torch(stack: ExitStack, replaced: Replaced, torch: Any) -> None:
    """Modules accept the token; whatever torch.hub would fetch is one."""
    load = torch.nn.Module.load_state_dict

    def accept(self: Any, state: Any, *args: Any, **kwargs: Any) -> Any:
        if isinstance(state, Pretrained):
            return torch.nn.modules.module._IncompatibleKeys([], [])
        return load(self, state, *args, **kwargs)

    stack.enter_context(patch.object(torch.nn.Module, "load_state_dict", accept))
    fetch = torch.hub.load_state_dict_from_url

    def no_fetch(url: str, *args: Any, **kwargs: Any) -> Any:
        """Libraries that are imported meanwhile keep this function, and call it later."""
        return replaced.state(url) if replaced.active else fetch(url, *args, **kwargs)

    stack.enter_context(patch.object(torch.hub, "load_state_dict_from_url", no_fetch))


def _torchvision(stack: ExitStack, replaced: Replaced) -> None:
    from torchvision.models import _api

    def state(self: Any, *_: Any, **__: Any) -> Pretrained:
        return replaced.state(self)

    stack.enter_context(patch.object(_api.WeightsEnum, "get_state_dict", state))


def _timm(stack: ExitStack, replaced: Replaced) -> None:
    from timm.models import _builder

    def leave(model: Any, *_: Any, **__: Any) -> None:
        replaced.names.append(type(model).__name__)

    stack.enter_context(patch.object(_builder, "load_pretrained", leave))


def _transformers(stack: ExitStack, replaced: Replaced) -> None:
    from transformers import AutoConfig, PretrainedConfig, PreTrainedModel
    from transformers.models.auto import modeling_auto
    from transformers.models.auto.auto_factory import _BaseAutoModelClass

    _from_hub(stack, PretrainedConfig, lambda cls, name: _configuration(name, cls), replaced)
    _from_hub(stack, PreTrainedModel, lambda cls, name: cls(_configuration(name, cls.config_class)), replaced)
    _from_hub(stack, AutoConfig, lambda _, name: _configuration(name, None), replaced)
    for owner in vars(modeling_auto).values():
        if isinstance(owner, type) and issubclass(owner, _BaseAutoModelClass):  # each has a copy of the method
            _from_hub(stack, owner, lambda cls, name: cls.from_config(_configuration(name, None)), replaced)


def _from_hub(stack: ExitStack, owner: Any, make: Callable[[Any, str], Any], replaced: Replaced) -> None:
    """Replace `owner.from_pretrained` by `make(cls, name)`."""

    def from_pretrained(cls: Any, name: Any, *_: Any, **__: Any) -> Any:
        made = make(cls, str(name))
        replaced.names.append(str(name))
        return made

    stack.enter_context(patch.object(owner, "from_pretrained", classmethod(from_pretrained)))


def _configuration(name: str, wanted: Any) -> Any:
    """The published configuration of that name; its class is `wanted` unless that is None."""
    import transformers

    if name not in PUBLISHED:
        raise Unsupported(f"needs the network: the configuration of {name} from Hugging Face's hub is not known here")
    published = PUBLISHED[name]
    kind = wanted if wanted is not None else getattr(transformers, published.config)
    return kind(**published.sizes)
