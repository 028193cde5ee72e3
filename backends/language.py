"""What kernels say, and how: a device whose compiler reads no C brings a subclass as `Limits.language`.

The generated kernels write declarations, loops, loads, reductions and the shape of a kernel through these methods.
The rest of their text is what the languages of accelerators have in common: C's operators and assignments, blocks in
braces, `if` with brackets, calls of functions, and the names GROUP(d), LOCAL(d), LOCAL_SIZE(d) and BARRIER().
`convert`, `ops` and the templates of the op table (kernels/ops.py) say what an expression is in that language.
"""

from __future__ import annotations

from collections.abc import Mapping

from tilewright.backends.dtypes import DTYPES, PARTS


class Language:
    """Neutral C, as dialect.py describes it; a subclass says what it says otherwise.

    Statements come with a line's end behind them, and bodies hold whole statements. `dtype` is a buffer's; a value of
    it has the type of DTYPES[dtype].compute.
    """

    name = "c"
    index = "int64"
    """The dtype of indices, extents and strides: int64 or int32."""
    ops: Mapping[str, Mapping[str, str]] = {}
    """Templates in place of the op table's, by op and kind of dtype; "start max" is a neutral element."""

    @property
    def is_c(self) -> bool:
        """Whether a kernel's text may be any neutral C, with the macros of the preludes."""
        return self.name in (C.name, PLAIN_C.name)

    def type(self, dtype: str) -> str:
        """The type in which a kernel computes with `dtype`."""
        return DTYPES[DTYPES[dtype].compute].c

    def convert(self, value: str, source: str, target: str) -> str:
        """A cast. To bool is a test; to a 16-bit float rounds, since such values are computed in float32."""
        if target == "bool":
            return value if source == "bool" else f"(b8)({value} != 0)"
        if target in PARTS:
            part = self.type(PARTS[target])
            re, im = (f"{value}.re", f"{value}.im") if source in PARTS else (value, "0")
            return f"complex_{part}(({part}){re}, ({part}){im})"
        rounded = f"ROUND_{DTYPES[target].c}(({self.type(target)}){value})"
        return rounded if target in ("float16", "bfloat16") and source != target else f"({self.type(target)}){value}"

    def choose(self, condition: str, yes: str, no: str) -> str:
        """The one or the other; both may be evaluated."""
        return f"{condition} ? {yes} : {no}"

    def size(self, count: int) -> str:
        """A count among a source's defines, to be used as an index."""
        return f"((i64){count})"

    def load(self, dtype: str, buffer: str, at: str) -> str:
        return f"LOAD({DTYPES[dtype].c}, {buffer}, {at})"

    def store(self, dtype: str, buffer: str, at: str, value: str) -> str:
        return f"STORE({DTYPES[dtype].c}, {buffer}, {at}, {value});\n"

    def let(self, **indices: str) -> str:
        """Constants of the index type."""
        return f"const i64 {', '.join(f'{name} = {value}' for name, value in indices.items())};\n"

    def constant(self, dtype: str, name: str, value: str) -> str:
        return f"const {self.type(dtype)} {name} = {value};\n"

    def variable(self, dtype: str, name: str, value: str) -> str:
        return f"{self.type(dtype)} {name} = {value};\n"

    def array(self, dtype: str, name: str, count: str) -> str:
        """A thread's own array; `count` is made of numbers and defines."""
        return f"{self.type(dtype)} {name}[{count}];\n"

    def shared(self, dtype: str, name: str, count: str) -> str:
        """An array of the group; goes to `kernel`."""
        return f"SHARED({self.type(dtype)}, {name}, {count});\n"

    def loop(self, i: str, begin: str, end: str, body: str, step: str = "") -> str:
        """`i` from `begin` by `step` (one) while it is below `end`, on every thread."""
        advance = f"{i} += {step}" if step else f"++{i}"
        return f"for (i64 {i} = {begin}; {i} < {end}; {advance}) {{\n{body}}}\n"

    def each(self, i: str, begin: str, end: str, body: str) -> str:
        """The same, split over the group's threads; iterations are independent."""
        return f"FOR_EACH({i}, {begin}, {end}) {{\n{body}}}\n"

    def held(self, dtype: str, name: str, count: str) -> str:
        """An array with an element for each of `count` iterations of an `each`, which its thread alone sees: `slot`."""
        return self.array(dtype, name, f"{count} / THREADS")

    def slot(self, i: str, begin: str) -> str:
        """Where in such an array the element lies, of an `each` from `begin` that is at `i`."""
        return f"({i} - {begin}) / LOCAL_SIZE(0)"

    def fold(self, i: str, begin: str, end: str, reduction: str, accumulator: str, body: str) -> str:
        """As `each`, where `body` combines each thread's `accumulator` by a reduction that was declared."""
        return f"FOR_REDUCE({i}, {begin}, {end}, {reduction}, {accumulator}) {{\n{body}}}\n"

    def combiner(self, name: str, dtype: str, combined: str) -> str:
        """What `name(a, b)` means in front of the kernel: the expression `combined` of (a) and (b)."""
        return f"#define {name}(a, b) {combined}\n"

    def declare_reduction(self, name: str, dtype: str, combiner: str, start: str) -> str:
        """In front of the kernel, what a `fold` refers to."""
        return f"DECLARE_REDUCTION({name}, {self.type(dtype)}, {combiner}, {start})\n"

    def group_reduce(self, dtype: str, combiner: str, accumulator: str, shared: str) -> str:
        """Afterwards every thread holds what all threads' `accumulator`s give; all of them come here."""
        return f"GROUP_REDUCE({self.type(dtype)}, {combiner}, {accumulator}, {shared});\n"

    def kernel(self, body: str, shared: str = "") -> str:
        """The kernel itself; the device makes of KERNEL what begins one."""
        return f"KERNEL {{\n{shared}{body}}}\n"


C = Language()


class Lanes(Language):
    """Neutral C for a compiler that makes one vector of a group's threads. It sees that all of them are in a loop's
    full rounds, which need no mask then; and threads' own arrays it would interleave at each access.
    """

    def each(self, i: str, begin: str, end: str, body: str) -> str:
        at, one = f"{i}_at", f"const i64 {i} = {i}_at + LOCAL(0);\n{body}"
        full = f"for (; {at} + LOCAL_SIZE(0) <= {end}; {at} += LOCAL_SIZE(0)) {{\n{one}}}\n"
        return f"{{\ni64 {at} = {begin};\n{full}if ({at} + LOCAL(0) < {end}) {{\n{one}}}\n}}\n"

    def held(self, dtype: str, name: str, count: str) -> str:
        return self.shared(dtype, name, count)

    def slot(self, i: str, begin: str) -> str:
        return f"{i} - {begin}"

    def fold(self, i: str, begin: str, end: str, reduction: str, accumulator: str, body: str) -> str:
        return self.each(i, begin, end, body)


LANES = Lanes()


class PlainC(Language):
    """The same without GNU's vectors, in which the hand-written templates for CPUs are written: only generated kernels
    are said in it, and a small compiler takes them.
    """

    name = "plain c"


PLAIN_C = PlainC()
