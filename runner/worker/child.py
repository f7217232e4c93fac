"""The child: takes jobs from its channel, runs one after the other, and reports what happens as it happens."""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import os
import signal
import socket
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NoReturn

from runner.worker import kernel
from runner.worker.messages import Decoder, Message, encode
from runner.worker.perform import perform

#: The parent sends it before it kills for a reached limit: the log then says where every thread was.
WHERE_SIGNAL = signal.SIGUSR2


def main(channel: int, log: int, parent: int) -> NoReturn:
    """Run the jobs that come over the socket `channel`; what is printed goes to `log`. Ends with the channel."""
    _detach(log, parent)
    link = Link(socket.socket(fileno=channel))
    for job in link.jobs():
        result = perform(job, link.send)
        _flush()
        link.send(result)
    os._exit(0)  # destructors of the model and of torch are not worth waiting for


class Link:
    """The channel to the parent, seen from the child."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel

    def jobs(self) -> Iterator[Message]:
        """Jobs until the parent closes its end."""
        decoder = Decoder()
        while data := self._channel.recv(1 << 16):
            yield from decoder.feed(data)

    def send(self, message: Message) -> None:
        """Send one message whole."""
        self._channel.sendall(encode(message))


def _detach(log: int, parent: int) -> None:
    """A session of our own, no input, output to the log, and death with the server."""
    if os.getpid() != os.getsid(0):
        os.setsid()
    kernel.die_with(parent)
    kernel.volunteer_for_oom()
    with Path(os.devnull).open("rb") as nothing:
        os.dup2(nothing.fileno(), 0)
    os.dup2(log, 1)
    os.dup2(log, 2)
    os.close(log)
    for stream in (sys.stdout, sys.stderr):
        stream.reconfigure(line_buffering=True, encoding="utf-8", errors="backslashreplace")  # type: ignore[union-attr]
    faulthandler.enable()
    faulthandler.register(WHERE_SIGNAL, all_threads=True)


def _flush() -> None:
    """Everything printed must be in the log before the result is reported, C's buffers included."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(Exception):  # whatever the model has put in its place
            stream.flush()
    ctypes.CDLL(None).fflush(None)
