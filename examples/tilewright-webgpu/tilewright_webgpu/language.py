"""WGSL, as kernels are said in it.

Indices are 32-bit, since an array's index is. A truth value is a u32, 0 or 1. 8- and 16-bit elements lie in words that
threads share: they are loaded and stored with atomics, and computed with in 32 bits, `narrow` cutting every result.
complex64 is a vec2<f32>.
"""

from __future__ import annotations

from tilewright.backends.dtypes import DTYPES, PARTS
from tilewright.backends.language import Language


def _ops() -> dict[str, dict[str, str]]:
    """What the op table says in C only; functions with an op's and a type's name are in prelude.wgsl."""
    ops: dict[str, dict[str, str]] = {}

    def say(name: str, **templates: str) -> None:
        ops[name] = {kind: template for kinds, template in templates.items() for kind in kinds}

    for name, symbol in (("add", "+"), ("sub", "-")):
        say(name, iu=f"narrow_{{t}}({{0}} {symbol} {{1}})", c=f"({{0}} {symbol} {{1}})")
    say("mul", iu="narrow_{t}({0} * {1})", c="mul_{t}({0}, {1})")
    say("neg", iu="narrow_{t}({t}(0) - {0})", c="(-{0})")
    say("abs", i="narrow_{t}(abs({0}))", c="abs_{t}({0})", f="abs({0})")
    say("sign", f="sign_{t}({0})", i="sign({0})", u="min({0}, {t}(1))")
    say("max", iu="max({0}, {1})")
    say("min", iu="min({0}, {1})")
    for name, symbol in (("eq", "=="), ("ne", "!="), ("lt", "<"), ("le", "<="), ("gt", ">"), ("ge", ">=")):
        say(name, iub=f"u32({{0}} {symbol} {{1}})", fc=f"{name}_{{t}}({{0}}, {{1}})")  # NaN: see the prelude
    for name in ("isnan", "isinf", "isfinite"):
        say(name, fc=f"{name}_{{t}}({{0}})")
    say("signbit", f="(bitcast<u32>({0}) >> 31u)")
    say("not", b="({0} ^ 1u)")
    for name, symbol in (("and", "&"), ("or", "|"), ("xor", "^")):
        say(name, iub=f"({{0}} {symbol} {{1}})")
    say("invert", iu="narrow_{t}(~{0})", b="({0} ^ 1u)")
    say("shl", iu="shl_{t}({0}, {1})")
    say("shr", iu="shr_{t}({0}, {1})")
    for k in range(4):
        say(f"philox{k}", u=f"philox({{0}}, {{1}}, {{2}}, {{3}}, {{4}}, {{5}}, {k})")
    for k in range(2):
        say(f"below64_{k}", u=f"u32(below_u64({{0}}, {{1}}, {{2}}, {{3}}, {{4}}, {{5}}) >> {32 * k}u)")
    say("below32", u="below_u32({0}, {1}, {2})")
    say("real", c="{0}.x")
    say("imag", c="{0}.y")
    say("where", fiubc="select({2}, {1}, {0} != 0u)")
    return ops


class Wgsl(Language):
    """`wide`: the device has 64-bit integers; without, an int64 scalar is two words, of which the low one counts."""

    name = "wgsl"
    index = "int32"
    ops = _ops()

    def __init__(self, wide: bool) -> None:
        self.wide = wide

    def convert(self, value: str, source: str, target: str) -> str:
        if source == "int64" and not self.wide:
            value, source = f"bitcast<i32>({value}.x)", "int32"
        if target in PARTS:
            return value if source in PARTS else f"complex_f32(f32({value}), 0.0)"
        if target == "bool":
            return value if source == "bool" else f"u32({value} != {self.type(source)}(0))"
        if DTYPES[source].compute == target:
            return value
        whole, kind = self.type(target), DTYPES[target].kind
        if kind == "f":
            rounds = target in ("float16", "bfloat16") and source != target
            return f"ROUND_{DTYPES[target].c}(f32({value}))" if rounds else f"f32({value})"
        if DTYPES[target].nbytes >= 4:
            return f"{whole}({value})"
        return f"narrow_{whole}({whole}(i32({value})))"

    def choose(self, condition: str, yes: str, no: str) -> str:
        return f"select({no}, {yes}, ({condition}))"

    def size(self, count: int) -> str:
        return str(count)

    def load(self, dtype: str, buffer: str, at: str) -> str:
        if DTYPES[dtype].nbytes >= 4:
            return f"{buffer}[{at}]"
        part, shift = ("byte", 2) if DTYPES[dtype].nbytes == 1 else ("half", 1)
        return f"load_{DTYPES[dtype].c}({part}(atomicLoad(&{buffer}[({at}) >> {shift}u]), {at}))"

    def store(self, dtype: str, buffer: str, at: str, value: str) -> str:
        """Of a word that neighbours share only the own part is written, by two atomics."""
        if DTYPES[dtype].nbytes >= 4:
            return f"{buffer}[{at}] = {value};\n"
        shift, inside, mask = (2, 3, "255u") if DTYPES[dtype].nbytes == 1 else (1, 1, "65535u")
        place = f"let place_ = {at}; let shift_ = u32(place_ & {inside}) * {32 >> shift}u;"
        word = f"&{buffer}[place_ >> {shift}u]"
        bits = f"(store_{DTYPES[dtype].c}({value}) & {mask}) << shift_"
        return f"{{ {place} atomicAnd({word}, ~({mask} << shift_)); atomicOr({word}, {bits}); }}\n"

    def let(self, **indices: str) -> str:
        return " ".join(f"let {name}: i32 = {value};" for name, value in indices.items()) + "\n"

    def constant(self, dtype: str, name: str, value: str) -> str:
        return f"let {name}: {self.type(dtype)} = {value};\n"

    def variable(self, dtype: str, name: str, value: str) -> str:
        return f"var {name}: {self.type(dtype)} = {value};\n"

    def array(self, dtype: str, name: str, count: str) -> str:
        return f"var {name}: array<{self.type(dtype)}, {count}>;\n"

    def shared(self, dtype: str, name: str, count: str) -> str:
        return f"var<workgroup> {name}: array<{self.type(dtype)}, {count}>;\n"

    def loop(self, i: str, begin: str, end: str, body: str, step: str = "") -> str:
        return f"for (var {i}: i32 = {begin}; {i} < {end}; {i} += {step or 1}) {{\n{body}}}\n"

    def each(self, i: str, begin: str, end: str, body: str) -> str:
        return self.loop(i, f"({begin}) + LOCAL(0)", f"({end})", body, "LOCAL_SIZE(0)")

    def fold(self, i: str, begin: str, end: str, reduction: str, accumulator: str, body: str) -> str:
        return self.each(i, begin, end, body)

    def combiner(self, name: str, dtype: str, combined: str) -> str:
        t = self.type(dtype)
        return f"fn {name}(a: {t}, b: {t}) -> {t} {{ return {combined}; }}\n"

    def declare_reduction(self, name: str, dtype: str, combiner: str, start: str) -> str:
        return ""

    def group_reduce(self, dtype: str, combiner: str, accumulator: str, shared: str) -> str:
        mine = f"{shared}[LOCAL(0)]"
        other = f"{accumulator} = {combiner}({accumulator}, {shared}[LOCAL(0) + step_]); {mine} = {accumulator};"
        halves = "var step_: i32 = LOCAL_SIZE(0) / 2; step_ > 0; step_ /= 2"
        put = f"BARRIER();\n{mine} = {accumulator};\nBARRIER();\n"  # the first lets readers of an earlier use finish
        loop = f"for ({halves}) {{\nif (LOCAL(0) < step_) {{ {other} }}\nBARRIER();\n}}\n"
        return f"{put}{loop}{accumulator} = {shared}[0];\n"

    def kernel(self, body: str, shared: str = "") -> str:
        return f"{shared}KERNEL {{\n{body}}}\n"
