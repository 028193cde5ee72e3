"""From a source to a whole WGSL module: bindings, tunables, the functions it calls, and the entry point."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import cache
from pathlib import Path

from tilewright.backends import protocol as tw
from tilewright.backends.dtypes import DTYPES

MAX_GROUPS = 65535  # along one axis of a dispatch, which WebGPU promises; a longer grid is folded

_SIGNED = """
fn floordiv_T(a: T, b: T) -> T {
    if (b == T(0)) { return T(0); }
    if (b == T(-1)) { return narrow_T(T(0) - a); }
    let r = a % b;
    return a / b - select(T(0), T(1), r != T(0) && (r < T(0)) != (b < T(0)));
}
fn mod_T(a: T, b: T) -> T {
    if (b == T(0) || b == T(-1)) { return T(0); }
    let r = a % b;
    return select(r, r + b, r != T(0) && (r < T(0)) != (b < T(0)));
}
fn ipow_T(base: T, power: T) -> T {
    if (power < T(0)) {
        if (base == T(1)) { return T(1); }
        return select(T(0), T(1) - T(2) * (power & T(1)), base == T(-1));
    }
    return ipow_positive_T(base, power);
}
fn shl_T(a: T, b: T) -> T { return select(narrow_T(a << (u32(b) & MASK)), T(0), b < T(0) || b >= T(BITS)); }
fn shr_T(a: T, b: T) -> T { return a >> select(u32(b), BITSu - 1u, b < T(0) || b >= T(BITS)); }
"""
_UNSIGNED = """
fn floordiv_T(a: T, b: T) -> T { return select(a / max(b, T(1)), T(0), b == T(0)); }
fn mod_T(a: T, b: T) -> T { return select(a % max(b, T(1)), T(0), b == T(0)); }
fn ipow_T(base: T, power: T) -> T { return ipow_positive_T(base, power); }
fn shl_T(a: T, b: T) -> T { return select(narrow_T(a << (u32(b) & MASK)), T(0), b >= T(BITS)); }
fn shr_T(a: T, b: T) -> T { return select(a >> (u32(b) & MASK), T(0), b >= T(BITS)); }
"""
_EACH = """
fn ipow_positive_T(base: T, power: T) -> T {
    var result = T(1);
    var factor = base;
    for (var e: T = power; e != T(0); e = e >> 1u) {
        result = select(result, narrow_T(result * factor), (e & T(1)) != T(0));
        factor = narrow_T(factor * factor);
    }
    return result;
}
"""
_NARROW = {
    "i8": "(x << 24u) >> 24u", "i16": "(x << 16u) >> 16u", "u8": "x & 255u", "u16": "x & 65535u",
    "b8": "x & 1u", "i32": "x", "u32": "x", "i64": "x", "u64": "x",
}  # fmt: skip
_ALIASES = "alias b8 = u32; alias i8 = i32; alias i16 = i32; alias u8 = u32; alias u16 = u32; alias c64 = vec2<f32>;\n"
_VARIABLES = """var<private> group_: vec3<i32>;
var<private> local_: vec3<i32>;
var<private> INF_f32: f32;
var<private> NAN_f32: f32;
"""
_WIDE_VARIABLES = """const MAX_i64: i64 = 0x7fffffffffffffffli;
var<private> MIN_i64: i64;
var<private> MAX_u64: u64;
"""
_BUILT_IN = """
fn GROUP(d: i32) -> i32 { return group_[d]; }
fn LOCAL(d: i32) -> i32 { return local_[d]; }
fn LOCAL_SIZE(d: i32) -> i32 { return SIZES_[d]; }
fn BARRIER() { workgroupBarrier(); storageBarrier(); }
fn FMA(a: f32, b: f32, c: f32) -> f32 { return fma(a, b, c); }
"""
# Groups come in one long row; those behind its end have nothing to do, all threads of them.
_ENTRY = (
    "@compute @workgroup_size({sizes}) fn {entry}(@builtin(workgroup_id) given_: vec3<u32>, "
    "@builtin(local_invocation_id) thread_: vec3<u32>) {{ "
    "let number_ = i32(given_.x + {most}u * (given_.y + {most}u * given_.z)); "
    "if (number_ >= values_.groups_) {{ return; }} "
    "group_ = vec3<i32>(number_ % values_.wide_, number_ / values_.wide_ % values_.high_, "
    "number_ / values_.wide_ / values_.high_); local_ = vec3<i32>(thread_); "
    "INF_f32 = inf(); NAN_f32 = nan(); {wide}{values}"
)
_SET_WIDE = "MIN_i64 = -MAX_i64 - 1li; MAX_u64 = ~u64(0); "
_CONSTANTS = {
    "MIN_i8": "i32 = -128", "MAX_i8": "i32 = 127", "MIN_i16": "i32 = -32768", "MAX_i16": "i32 = 32767",
    "MIN_i32": "i32 = i32(-2147483648)", "MAX_i32": "i32 = 2147483647", "MAX_u8": "u32 = 255u",
    "MAX_u16": "u32 = 65535u", "MAX_u32": "u32 = 0xffffffffu",
}  # fmt: skip


@dataclass(frozen=True)
class Values:
    """Where the numbers of a launch lie in its uniform buffer: four words of our own, then the parameters'."""

    offsets: tuple[int, ...]
    nbytes: int
    members: str

    @staticmethod
    def of(parameters: tuple[tw.Parameter, ...], wide: bool) -> Values:
        members = "groups_: i32, wide_: i32, high_: i32, zero_: u32"
        at, offsets = 16, []
        for p in parameters:
            size = DTYPES[p.dtype].nbytes
            at = -(-at // size) * size
            offsets.append(at)
            at += size
            members += f", {p.name}: {value_type(p.dtype, wide)}"
        return Values(tuple(offsets), -(-at // 16) * 16, members)


def value_type(dtype: str, wide: bool) -> str:
    return "vec2<u32>" if dtype == "int64" and not wide else DTYPES[dtype].c


def element_type(dtype: str) -> str:
    """What a buffer of `dtype` is an array of: words, where elements are narrower than those."""
    return "atomic<u32>" if DTYPES[dtype].nbytes < 4 else DTYPES[dtype].c


@cache
def library(wide: bool) -> dict[str, str]:
    """Every function that a kernel may call, by name."""
    text = _BUILT_IN + (Path(__file__).parent / "prelude.wgsl").read_text()
    for t, narrow in _NARROW.items():
        if t in ("i64", "u64") and not wide:
            continue
        text += f"fn narrow_{t}(x: {t}) -> {t} {{ return {narrow}; }}\n"
        bits = {"b": 1}.get(t[0]) or int(t[1:])
        if t != "b8":
            each = (_SIGNED if t[0] == "i" else _UNSIGNED) + _EACH
            each = re.sub(r"\bT\b|(?<=_)T\b", t, each)
            text += each.replace("MASK", f"{bits - 1}u").replace("BITSu", f"{bits}u").replace("BITS", str(bits))
    found = {match[1]: match[0] for match in re.finditer(r"^fn (\w+)\(.*?(?=^fn |^//|\Z)", text, re.M | re.S)}
    return found if wide else {name: piece for name, piece in found.items() if "u64" not in piece}


@cache
def _calls(wide: bool) -> dict[str, frozenset[str]]:
    known = library(wide)
    return {name: frozenset(re.findall(r"\w+", piece)) & known.keys() - {name} for name, piece in known.items()}


def needed(text: str, wide: bool) -> str:
    """The functions that `text` calls, and those that they call."""
    known, found = library(wide), set[str]()
    todo = list(set(re.findall(r"\w+", text)) & known.keys())
    while todo:
        name = todo.pop()
        if name not in found:
            found.add(name)
            todo += _calls(wide)[name]
    return "".join(known[name] for name in known if name in found)


def module(source: tw.Source, wide: bool) -> tuple[str, int]:
    """The whole text, and how many lines of it precede those of the source's body."""
    buffers = [p for p in source.parameters if p.access != "value"]
    numbers = tuple(p for p in source.parameters if p.access == "value")
    head = _ALIASES + f"struct Values_ {{ {Values.of(numbers, wide).members} }}\n"
    for k, p in enumerate(buffers):
        head += f"@group(0) @binding({k}) var<storage, read_write> {p.name}: array<{element_type(p.dtype)}>;\n"
    head += f"@group(0) @binding({len(buffers)}) var<uniform> values_: Values_;\n"
    head += "".join(f"const {name} = {value};\n" for name, value in source.defines if name != "LAUNCH_WORK")
    head += "".join(f"const {name}: {rest};\n" for name, rest in _CONSTANTS.items())
    head += f"const SIZES_ = vec3<i32>({', '.join(map(str, source.group))});\n"
    head += _VARIABLES + (_WIDE_VARIABLES if wide else "")
    values = " ".join(f"let {p.name} = values_.{p.name};" for p in numbers)
    sizes = ", ".join(map(str, source.group))
    more = _SET_WIDE if wide else ""
    entry = _ENTRY.format(sizes=sizes, entry=source.entry, most=MAX_GROUPS, wide=more, values=values)
    body = source.body.replace("KERNEL {", entry, 1)
    head += needed(body, wide)
    return head + body, head.count("\n")
