"""The parent's side of the servers: starting them, asking for children, noticing their death."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
from collections.abc import Mapping

from runner.worker import boot, kernel
from runner.worker.failure import one_line
from runner.worker.messages import Decoder, Message, encode

#: Servers kept at a time, each with torch in memory: another environment needs another server.
MOST_SERVERS = 2
#: Seconds until a server must answer for the first time (a cold import of torch over a network can take a minute),
#: and until one must be gone after it was told to end.
START_S, CLOSE_S = 300.0, 10.0
_CHUNK = 1 << 16
_KEPT = 4000  # bytes of what a server printed last


class ServerDied(Exception):  # noqa: N818 - reads as a statement at the raise site
    """The process that starts children is gone; the message ends with the last it printed."""


class Server:
    """One server process (see runner.worker.server) in the environment `env`."""

    def __init__(self, env: Mapping[str, str], preload: bool, header: bool) -> None:
        self.channel, theirs = socket.socketpair()
        self.output, their_output = os.pipe()
        os.set_blocking(self.output, False)
        self._printed = b""
        self._decoder = Decoder()
        self.child: Child | None = None
        with theirs:
            self._process = subprocess.Popen(
                boot.command("runner.worker.server", channel=theirs.fileno(), preload=preload, header=header),
                env=env,
                pass_fds=[theirs.fileno()],
                stdin=subprocess.DEVNULL,
                stdout=their_output,
                stderr=their_output,
                start_new_session=True,
            )
        os.close(their_output)

    @property
    def pid(self) -> int:
        """Of the server process."""
        return self._process.pid

    def start_child(self) -> Child:
        """Ask for a child, after the last one's end; it exists once the server has answered."""
        ours, theirs = socket.socketpair()
        log, their_log = os.pipe()
        os.set_blocking(log, False)
        request = encode({"kind": "start"})
        with theirs, contextlib.suppress(ConnectionError):  # its death shows when we read
            socket.send_fds(self.channel, [request], [theirs.fileno(), their_log])
        os.close(their_log)
        self.child = Child(self, ours, log)
        return self.child

    def end_child(self) -> None:
        """Kill the child and wait until it is gone; raises ServerDied where that can't be had."""
        assert self.child is not None
        self.child.kill()
        self.channel.settimeout(CLOSE_S)
        while self.child.code is None:
            self.read()
        self.channel.settimeout(None)
        self.child.close()

    def tell(self, message: Message) -> None:
        """Send a request."""
        with contextlib.suppress(ConnectionError):
            self.channel.sendall(encode(message))

    def read(self) -> None:
        """Take in what the server said; raises ServerDied when it is gone."""
        try:
            data = self.channel.recv(_CHUNK)
        except (ConnectionError, TimeoutError):
            data = b""
        if not data:
            self._bury()
        for message in self._decoder.feed(data):
            if self.child is not None and message["kind"] == "started":
                self.child.pid = message["pid"]
            if self.child is not None and message["kind"] == "ended":
                self.child.code = message["code"]

    def _bury(self) -> None:
        if self.child is not None and self.child.pid is not None and self.child.code is None:
            kernel.kill_group(self.child.pid)  # the kernel killed the child with the server, but not its group
        while self.hear():
            pass
        self.close()
        lines = self._printed.decode(errors="replace").strip().splitlines()
        last = one_line(lines[-1]) if lines else "it printed nothing"
        raise ServerDied(f"the process that starts children ended with code {self._process.returncode}: {last}")

    def hear(self) -> bool:
        """Take in what the server printed, and keep the end of it; False when there was nothing."""
        try:
            data = os.read(self.output, _CHUNK)
        except BlockingIOError:
            return False
        self._printed = (self._printed + data)[-_KEPT:]
        return bool(data)

    def close(self) -> None:
        """End the server, its child and all descendants; at once, or after CLOSE_S by force."""
        if self.channel.fileno() < 0:
            return
        if self.child is not None:
            self.child.close()
        self.channel.close()
        os.close(self.output)
        try:
            self._process.wait(CLOSE_S)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()


class Child:
    """One child: `pid` once it started, `code` (exit code, or minus the signal) once it and all it started are gone."""

    def __init__(self, server: Server, channel: socket.socket, log: int) -> None:
        self.server = server
        self.channel = channel
        self.log = log
        self.pid: int | None = None
        self.code: int | None = None
        self.idle = False  # it finished its job and waits for another
        self._decoder = Decoder()

    def send(self, message: Message, last: bool) -> None:
        """Give it a job; after the `last` it ends."""
        with contextlib.suppress(ConnectionError):
            self.channel.sendall(encode(message))
            if last:
                self.channel.shutdown(socket.SHUT_WR)

    def messages(self) -> list[Message] | None:
        """What it said since, without waiting; None when its end is closed. Raises Garbled."""
        try:
            data = self.channel.recv(_CHUNK, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return []
        except ConnectionError:
            data = b""
        return list(self._decoder.feed(data)) if data else None

    def printed(self) -> bytes | None:
        """What it printed since, without waiting; None when nobody can print any more."""
        try:
            return os.read(self.log, _CHUNK) or None
        except BlockingIOError:
            return b""

    def signal(self, number: int) -> None:
        """Send a signal to the child alone."""
        self.server.tell({"kind": "signal", "number": int(number)})

    def kill(self) -> None:
        """Kill the child and all that it started."""
        self.server.tell({"kind": "kill"})

    def close(self) -> None:
        """Close our ends; a child that is still there ends when it has done its job."""
        self.channel.close()
        if self.log >= 0:
            os.close(self.log)
            self.log = -1


class Servers:
    """The servers of one supervisor, by environment; the least recently used one goes when there are too many."""

    def __init__(self, preload: bool) -> None:
        self._preload = preload
        self._servers: dict[tuple[frozenset[tuple[str, str]], bool], Server] = {}

    def get(self, env: Mapping[str, str], header: bool) -> Server:
        """The server for `env`, with inductor's header or not, started if there is none."""
        key = frozenset(env.items()), header
        server = self._servers.pop(key, None)
        if server is None:
            while len(self._servers) >= MOST_SERVERS:
                self._servers.pop(next(iter(self._servers))).close()
            server = Server(env, self._preload, header)
        self._servers[key] = server
        return server

    def discard(self, server: Server) -> None:
        """Close `server` and forget it."""
        self._servers = {key: other for key, other in self._servers.items() if other is not server}
        server.close()

    def close(self) -> None:
        """Close all."""
        for server in list(self._servers.values()):
            self.discard(server)
