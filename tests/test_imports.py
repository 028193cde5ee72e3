"""Imports point down only, absolute only; heavy packages are imported in one place, late."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
ROOMS = ("frontend", "tuner", "kernels", "backends")  # each may import itself and what comes after it
ONE_PLACE = ("cupy", "pyopencl", "optuna")
LATE = ("rich", "click", "optuna", "cupy", "pyopencl", "ml_dtypes", "platformdirs", "filelock")
FILES = [path for room in ROOMS for path in sorted((ROOT / room).glob("**/*.py"))]


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def imports(path: Path) -> list[tuple[int, str]]:
    """Line and full name of all that `path` imports; "from a import b" is a.b, a relative import starts with a dot."""
    found = []
    for node in ast.walk(ast.parse(path.read_text(), name(path))):
        if isinstance(node, ast.Import):
            found += [(node.lineno, alias.name) for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            base = "." * node.level + (node.module or "")
            found += [(node.lineno, f"{base}.{alias.name}") for alias in node.names]
    return found


def room_of(module: str) -> str | None:
    """The room that a module of ours lies in; None for anyone else's."""
    parts = module.split(".")
    if parts[0] != "tilewright":
        return None
    return parts[1] if len(parts) > 1 and parts[1] in ROOMS else "frontend"


def uphill(path: Path) -> list[str]:
    here = ROOMS.index(path.relative_to(ROOT).parts[0])
    wrong = []
    for line, module in imports(path):
        room = room_of(module)
        if module.startswith("."):
            wrong.append(f"{name(path)}:{line} imports {module} relatively")
        elif room is not None and ROOMS.index(room) < here:
            wrong.append(f"{name(path)}:{line} imports {module}, which lies above")
    return wrong


def test_there_are_files_in_every_room() -> None:
    assert {path.relative_to(ROOT).parts[0] for path in FILES} == set(ROOMS)


def test_imports_point_down() -> None:
    assert [text for path in FILES for text in uphill(path)] == []


def test_the_check_sees_what_it_should(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "ROOT", tmp_path)
    file = tmp_path / "kernels" / "bad.py"
    file.parent.mkdir()
    file.write_text(
        "from tilewright import x\nimport tilewright.tuner.y\nfrom . import z\nimport tilewright.backends.cpu\n"
    )
    assert [text.partition(" ")[0] for text in uphill(file)] == [
        "kernels/bad.py:1",
        "kernels/bad.py:2",
        "kernels/bad.py:3",
    ]


@pytest.mark.parametrize("package", ONE_PLACE)
def test_heavy_packages_have_one_place(package: str) -> None:
    users = {name(path) for path in FILES for _, module in imports(path) if module.partition(".")[0] == package}
    assert len(users) <= 1


def test_importing_tilewright_is_light() -> None:
    code = f"""
import sys, numpy
before = set(sys.modules)
import tilewright
print(sorted({{m.partition(".")[0] for m in set(sys.modules) - before}} & set({LATE!r})))
print(sorted(m for m in set(sys.modules) - before if m.startswith("tilewright.backends.") and m.endswith("_device")))
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[:2] == ["[]", "[]"]
