"""The process that starts children: a fork of itself with torch already imported, or a fresh interpreter each.

It has one child at a time, leaves no descendant of a child behind, and dies with its parent, however that died. It
touches no device and has one thread, so that a forked child may do what a fresh process may.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import signal
import socket
import sys
import traceback
from typing import NoReturn

from runner.worker import boot, child, kernel, toolchain
from runner.worker.messages import Decoder, Message, encode

_IGNORED = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGUSR2)  # meant for the parent, which ends us


def main(channel: int, preload: bool, header: bool) -> NoReturn:
    """Serve requests that come over the socket `channel` until its other end closes.

    Before, with `preload`, import what children need, and with `header` have inductor's C++ header built.
    """
    kernel.adopt_orphans()
    for number in _IGNORED:
        signal.signal(number, signal.SIG_IGN)
    kernel.die_with(os.getppid())  # while nothing watches the channel; afterwards children must be ended first
    if preload:
        toolchain.ready()
    if header:
        toolchain.have_header()
    kernel.outlive_parent()
    Server(socket.socket(fileno=channel), preload).serve()


class Server:
    """The loop: requests from the parent, deaths of the child."""

    def __init__(self, channel: socket.socket, forks: bool) -> None:
        self._channel = channel
        self._forks = forks
        self._decoder = Decoder()
        self._descriptors: list[int] = []
        self._child: int | None = None
        self._wake_read, self._wake_write = os.pipe()
        os.set_blocking(self._wake_write, False)

    def serve(self) -> NoReturn:
        """Never returns."""
        signal.signal(signal.SIGCHLD, lambda *_: None)
        signal.set_wakeup_fd(self._wake_write, warn_on_full_buffer=False)
        with selectors.DefaultSelector() as selector:
            selector.register(self._channel, selectors.EVENT_READ, self._requests)
            selector.register(self._wake_read, selectors.EVENT_READ, self._deaths)
            self._tell({"kind": "ready"})
            while True:
                for key, _ in selector.select():
                    key.data()

    def _requests(self) -> None:
        try:
            data, descriptors, *_ = socket.recv_fds(self._channel, 1 << 16, 8)
        except ConnectionError:
            data, descriptors = b"", []
        if not data:
            self._leave()
        self._descriptors += descriptors
        for message in self._decoder.feed(data):
            self._request(message)

    def _request(self, message: Message) -> None:
        if message["kind"] == "start":
            self._start()
        elif self._child is not None and message["kind"] == "signal":
            os.kill(self._child, message["number"])
        elif self._child is not None:
            kernel.kill_group(self._child)

    def _start(self) -> None:
        descriptors, self._descriptors = self._descriptors, []
        server = os.getpid()
        pid = os.fork()
        if pid == 0:
            self._become_child(descriptors, server)
        for descriptor in descriptors:
            os.close(descriptor)
        self._child = pid
        self._tell({"kind": "started", "pid": pid})

    def _become_child(self, descriptors: list[int], server: int) -> NoReturn:
        try:
            signal.set_wakeup_fd(-1)
            for number in (*_IGNORED, signal.SIGCHLD):
                signal.signal(number, signal.SIG_DFL)
            signal.signal(signal.SIGINT, signal.default_int_handler)
            for descriptor in (self._channel.detach(), self._wake_read, self._wake_write):
                os.close(descriptor)
            channel, log = descriptors
            if self._forks:
                child.main(channel, log, server)
            for descriptor in descriptors:
                os.set_inheritable(descriptor, True)
            command = boot.command(child.__name__, channel=channel, log=log, parent=server)
            os.execv(command[0], command)
        except BaseException:  # noqa: BLE001 - nothing may return into the server's loop
            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(70)

    def _deaths(self) -> None:
        os.read(self._wake_read, 1 << 10)
        with contextlib.suppress(ChildProcessError):
            while (death := os.waitpid(-1, os.WNOHANG))[0]:
                pid, status = death
                if pid == self._child:
                    self._clean()
                    self._tell({"kind": "ended", "code": os.waitstatus_to_exitcode(status)})

    def _clean(self) -> None:
        """Kill what the child started, its group and what left it, and wait until all of it is gone."""
        if self._child is not None:
            kernel.kill_group(self._child)
            self._child = None
        with contextlib.suppress(ChildProcessError):
            while True:
                for orphan in kernel.children_of(os.getpid()):
                    kernel.kill_group(orphan)
                os.waitpid(-1, 0)

    def _tell(self, message: Message) -> None:
        try:
            self._channel.sendall(encode(message))
        except ConnectionError:
            self._leave()

    def _leave(self) -> NoReturn:
        self._clean()
        os._exit(0)
