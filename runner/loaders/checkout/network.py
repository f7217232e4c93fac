"""Closes the network for a while: what a model asks for then is named instead of fetched."""

from __future__ import annotations

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext
from typing import Any, NoReturn
from unittest.mock import patch

_SWITCHES = ("HF_HUB_OFFLINE", "TRANSFORMERS_OFFLINE", "HF_DATASETS_OFFLINE")
_LOCAL = (None, "", "localhost", "127.0.0.1", "::1", "0.0.0.0")  # noqa: S104 - compared with, not bound to


class Offline(OSError):  # noqa: N818 - reads as a statement where it is raised
    """A connection to another machine was tried."""


@contextmanager
def closed() -> Iterator[list[str]]:
    """Inside, looking another machine's name up or connecting to it raises Offline; gives the hosts asked for.

    Hugging Face's libraries are told to use their cache only. Several models run in more than one process and talk to
    themselves: this machine stays within reach.
    """
    asked: list[str] = []
    look_up, connect = socket.getaddrinfo, socket.socket.connect

    def refuse(host: Any) -> NoReturn:
        asked.append(str(host))
        raise Offline(f"no network at run time: {host} was asked for")

    def guarded_look_up(host: Any, *args: Any, **kwargs: Any) -> Any:
        return look_up(host, *args, **kwargs) if host in _LOCAL else refuse(host)

    def guarded_connect(self: socket.socket, address: Any) -> None:
        if self.family in {socket.AF_INET, socket.AF_INET6} and address[0] not in _LOCAL:
            refuse(address[0])
        connect(self, address)

    hub = sys.modules.get("huggingface_hub.constants")  # it read the variables when it was imported
    with (
        patch.dict(os.environ, dict.fromkeys(_SWITCHES, "1")),
        patch.object(hub, "HF_HUB_OFFLINE", True) if hub else nullcontext(),
        patch.object(socket, "getaddrinfo", guarded_look_up),
        patch.object(socket.socket, "connect", guarded_connect),
    ):
        yield asked
