"""A process for what may hang, crash or print what it likes: `Child` is the parent's end of it, `Parent` the child's.

Each message, either way, is one JSON line.
"""

from __future__ import annotations

import json
import os
import queue
import signal
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import IO, Any


class Hung(Exception):
    """No message came in time. The process has been ended."""


class Died(Exception):
    """The process ended by itself; the text says how, with the last line that it wrote to stderr."""


class Child:
    """`python -m MODULE ARGUMENT`, started at once. `environment` replaces the parent's."""

    def __init__(self, module: str, argument: str, environment: Mapping[str, str] | None = None) -> None:
        self._stderr = tempfile.TemporaryFile()  # noqa: SIM115 (lives as long as the process)
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", module, argument], stdin=subprocess.PIPE, stdout=subprocess.PIPE,
            stderr=self._stderr, text=True, encoding="utf-8", env=environment,
            start_new_session=True,  # the terminal's Ctrl-C is for the parent alone
        )  # fmt: skip
        assert self._process.stdout is not None
        self._lines = _lines(self._process.stdout)

    def send(self, message: Any) -> None:
        """Never raises for a process that is dead: `receive` finds that out, and says why."""
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):
            self._process.stdin.write(json.dumps(message) + "\n")
            self._process.stdin.flush()

    def receive(self, seconds: float) -> Any:
        """The next message. Raises Hung after so many seconds, Died where none can come; both end the process."""
        try:
            line = self._lines.get(timeout=seconds)
        except queue.Empty:
            self.close()
            raise Hung from None
        if line is None:
            how = self._obituary()
            self.close()
            raise Died(how)
        return json.loads(line)

    def close(self) -> None:
        """End the process, whatever it is doing."""
        self._process.kill()
        self._process.wait()
        assert self._process.stdin is not None
        with suppress(BrokenPipeError):  # what was being written when it died
            self._process.stdin.close()
        self._stderr.close()

    def _obituary(self) -> str:
        code = self._process.wait()
        if code < 0:
            how = f"crash: {signal.Signals(-code).name}"
            if -code == signal.SIGKILL:
                how += " (out of memory?)"
        else:
            how = f"crash: the process ended with status {code}"
        self._stderr.seek(0)
        lines = self._stderr.read().decode(errors="replace").strip().splitlines()
        return f"{how}: {lines[-1][:200]}" if lines else how


class Parent:
    """Who started this process. What is printed to stdout goes to stderr from here on; messages have their own way.

    When the parent is gone so is this process, even if the main thread hangs.
    """

    def __init__(self) -> None:
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle: it decides what is kept
        self._channel = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)
        self._lines = _lines(sys.stdin, last=lambda: os._exit(0))

    def send(self, message: Any) -> None:
        """What JSON does not know goes as its text."""
        self._channel.write(json.dumps(message, default=str) + "\n")
        self._channel.flush()

    def receive(self) -> Any:
        """The next message, however long it takes."""
        line = self._lines.get()
        assert line is not None  # `last` ended the process
        return json.loads(line)


def _lines(pipe: IO[str], last: Callable[[], object] | None = None) -> queue.SimpleQueue[str | None]:
    """A queue of the pipe's lines, read by a thread, and None behind the last; or `last` is called there."""
    lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()

    def read() -> None:
        with pipe:
            for line in pipe:
                lines.put(line)
            if last is not None:
                last()
        lines.put(None)

    threading.Thread(target=read, daemon=True).start()
    return lines
