"""Runs a script and writes down what it launched: `python -m tilewright.tuner.script OBSERVATIONS SCRIPT ARGS...`.

The script sees what it would see if Python ran it: its own argv, its folder first on the path, `__main__`.
"""

from __future__ import annotations

import json
import os
import runpy
import sys
import traceback
from pathlib import Path
from time import perf_counter

from tilewright.tuner.observe import observe


def main(target: str, script: str, arguments: list[str]) -> int:
    sys.argv = [script, *arguments]
    sys.path.insert(0, str(Path(script).resolve().parent))
    error, status = "", 0
    start = perf_counter()
    with observe() as observations:
        try:
            runpy.run_path(script, run_name="__main__")
        except SystemExit as request:
            status, error = _exit(request)
        except KeyboardInterrupt:
            status, error = 130, "it was interrupted"
        except BaseException as raised:  # the parent says what happened, in one sentence
            status, error = 1, _sentence(raised, script)
    data = {"seconds": perf_counter() - start, "status": status, "error": error, "rows": observations.to_json()}
    scratch = Path(f"{target}.{os.getpid()}")
    scratch.write_text(json.dumps(data))
    os.replace(scratch, target)
    return status


def _exit(request: SystemExit) -> tuple[int, str]:
    """Status and message as the interpreter would have them: None is 0, a text is printed and means 1."""
    if request.code is None or isinstance(request.code, int):
        status = request.code or 0
        return status, f"it exited with status {status}" if status else ""
    return 1, str(request.code)


def _sentence(raised: BaseException, script: str) -> str:
    """The exception's last line, and the script's line that it came through."""
    last = traceback.format_exception_only(raised)[-1].strip()
    own = [f for f in traceback.extract_tb(raised.__traceback__) if f.filename == script]
    return f"{last} ({script}, line {own[-1].lineno})" if own else last


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
