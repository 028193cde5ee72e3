"""Facts about the machine's processor and memory, read where the system tells them and guessed low where not."""

from __future__ import annotations

import os
import platform
from functools import cache
from pathlib import Path

ISA_FLAGS = ("sse4_2", "avx", "avx2", "fma", "f16c", "avx512f", "avx512bw", "avx512dq", "avx512vl", "avx512_bf16",
             "avx512_fp16", "avx512_vnni", "avx_vnni", "amx_tile", "neon", "asimd", "asimdhp", "fphp", "asimddp",
             "i8mm", "bf16", "sve", "sve2")  # fmt: skip


def _text(path: str) -> str:
    """The file's text, "" where this system has no such file."""
    try:
        return Path(path).read_text()
    except OSError:
        return ""


@cache
def _cpuinfo() -> dict[str, str]:
    """The first processor's lines of /proc/cpuinfo."""
    facts: dict[str, str] = {}
    for line in _text("/proc/cpuinfo").splitlines():
        key, _, value = line.partition(":")
        facts.setdefault(key.strip(), value.strip())
    return facts


def cpu_model() -> str:
    info = _cpuinfo()
    name = info.get("model name") or info.get("Model") or platform.processor() or platform.machine()
    return f"{name} (family {info['cpu family']}, model {info['model']})" if "cpu family" in info else name


def cpu_vendor() -> str:
    return _cpuinfo().get("vendor_id") or _cpuinfo().get("CPU implementer") or platform.machine()


@cache
def isa() -> tuple[str, ...]:
    """The instruction sets that change what a compiler makes of a kernel."""
    flags = set((_cpuinfo().get("flags") or _cpuinfo().get("Features") or "").split())
    if not flags and platform.machine().lower() in ("arm64", "aarch64"):
        flags = {"asimd"}  # every 64-bit Arm has it
    return tuple(flag for flag in ISA_FLAGS if flag in flags)


def vector_nbytes() -> int:
    """Bytes of the widest SIMD register."""
    return 64 if "avx512f" in isa() else 32 if "avx" in isa() else 16


def vector_registers() -> int:
    return 32 if "avx512f" in isa() or "asimd" in isa() else 16


def matrix_units() -> frozenset[str]:
    """Instruction sets that multiply neighbours in a lane and sum them there, as kernels use them: on whole vectors of
    any width, which AVX512VL brings.
    """
    return frozenset(isa()) & {"avx512_bf16", "avx512_vnni"} if "avx512vl" in isa() else frozenset()


def threads() -> int:
    """Threads that a parallel kernel uses: OMP_NUM_THREADS, else the processors this process may run on."""
    asked = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    if asked.isdigit() and int(asked) > 0:
        return int(asked)
    affinity = getattr(os, "sched_getaffinity", None)
    return len(affinity(0)) if affinity else os.cpu_count() or 1


@cache
def cache_nbytes() -> tuple[int, ...]:
    """Sizes of the data caches from the nearest outwards; a cautious guess where the system does not tell."""
    levels: dict[int, int] = {}
    for k in range(8):
        folder = f"/sys/devices/system/cpu/cpu0/cache/index{k}"
        size = _text(f"{folder}/size").strip()
        if _text(f"{folder}/type").strip() in ("Data", "Unified") and size.endswith("K"):
            levels[int(_text(f"{folder}/level"))] = int(size[:-1]) << 10
    return tuple(levels[level] for level in sorted(levels)) or (32 << 10, 512 << 10)


def _meminfo(key: str) -> int:
    for line in _text("/proc/meminfo").splitlines():
        if line.startswith(key + ":"):
            return int(line.split()[1]) << 10
    return -1


@cache
def memory_nbytes() -> int:
    """Memory of the machine, or of the container where that is less; 0 where unknown."""
    total = _meminfo("MemTotal")
    if total < 0 and hasattr(os, "sysconf") and "SC_PHYS_PAGES" in os.sysconf_names:
        total = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    limit = _text("/sys/fs/cgroup/memory.max").strip()
    return max(min(total, int(limit)) if limit.isdigit() else total, 0)


def available_nbytes() -> int:
    """Bytes that can be allocated now without swapping or being killed for it; -1 where unknown."""
    free = _meminfo("MemAvailable")
    limit, used = _text("/sys/fs/cgroup/memory.max").strip(), _text("/sys/fs/cgroup/memory.current").strip()
    if limit.isdigit() and used.isdigit():
        left = max(int(limit) - int(used), 0)
        return min(free, left) if free >= 0 else left
    return free
