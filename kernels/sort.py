"""Sorting by merging: tiles are sorted first, then runs are merged in pairs until one is left. Stable.

`SortTiles` sorts each tile of TILE neighbours of a row: a group by a bitonic network (Batcher, "Sorting networks and
their applications", 1968) over keys and places, so that equal keys keep their order; one thread by insertion. `Merge`
merges runs of `width` in pairs: a thread finds where its share of the result begins by the merge path (Odeh, Green,
Mwassi, Shmueli and Birk, "Merge Path", 2012) and merges that many elements. Of each merged run `keep` elements are
stored, side by side: all of them in a sort; a selection of the first few is a sort that drops the rest early.

NaN comes behind every number, and before it where the order is descending, as in NumPy.
"""

from __future__ import annotations

from math import prod

from tilewright.backends.dtypes import DTYPES
from tilewright.backends.language import C, Language
from tilewright.backends.protocol import Limits, Source
from tilewright.kernels.emit import Writer, address, bases, entry_name, parameters, unravel, values, work
from tilewright.kernels.node import toposort
from tilewright.kernels.problem import Problem, merge_sizes
from tilewright.kernels.space import EMPTY, Config, Rule, Space, serial, thread_counts

GROUP_TILE, SERIAL_TILE = 1024, 32
MOST_SELECTED = 256  # one thread keeps no more in order by insertion


def tile_of(limits: Limits) -> int:
    """How many neighbours the first step of a sort puts in order: what a group's shared memory holds, or one thread."""
    if serial(limits):
        return SERIAL_TILE
    return next(t for t in (GROUP_TILE, 512, 256, 128, 64) if t * 20 <= limits.shared_nbytes or t == 64)


def _order(problem: Problem) -> str:
    """The macro BEFORE(a, b): whether key a comes strictly before key b."""
    node = problem.body[0]
    a, b = ("b", "a") if node.arg < 0 else ("a", "b")
    if DTYPES[node.src[0].dtype].kind != "f":
        return f"#define BEFORE(a, b) (({a}) < ({b}))\n"
    return f"#define BEFORE(a, b) (({a}) < ({b}) || (({b}) != ({b}) && ({a}) == ({a})))\n"


_INSERTION = """{t} keys[TILE];
i32 places[TILE];
for (i64 {i} = base; {i} < base + count; ++{i}) {{
{element}i32 at = (i32)({i} - base);
for (; at > 0 && BEFORE({value}, keys[at - 1]); --at) {{
keys[at] = keys[at - 1];
places[at] = places[at - 1];
}}
keys[at] = {value};
places[at] = (i32)({i} - base);
}}
"""

_BITONIC = """FOR_EACH(k, 0, TILE) {{
{t} key = 0;
if (k < count) {{
const i64 {i} = base + k;
{element}key = {value};
}}
keys[k] = key;
places[k] = (i32)k;
}}
BARRIER();
for (i64 size = 2; size <= TILE; size *= 2)
for (i64 stride = size / 2; stride > 0; stride /= 2) {{
FOR_EACH(k, 0, TILE / 2) {{
const i64 low = 2 * k - (k & (stride - 1)), high = low + stride;
const {t} a = keys[low], b = keys[high];
const i32 p = places[low], q = places[high];
const i32 turned = q < count && (p >= count || BEFORE(b, a) || (!BEFORE(a, b) && q < p));
if (turned == ((low & size) == 0)) {{
keys[low] = b;
keys[high] = a;
places[low] = q;
places[high] = p;
}}
}}
BARRIER();
}}
"""


class SortTiles:
    """One tile per group, or TURN of them one after the other where a group is one thread."""

    name = "sort_tiles"

    def space(self, problem: Problem, limits: Limits) -> Space:
        if problem.kind != "sort" or not limits.language.is_c:
            return EMPTY
        if serial(limits):
            return Space({"THREADS": (1,), "TURN": (1, 16, 64, 256)})
        return Space({"THREADS": thread_counts(limits), "TURN": (1,)})

    def default(self, problem: Problem, limits: Limits) -> Config:
        if serial(limits):
            return {"THREADS": 1, "TURN": 64 if self._tiles(problem) >= 256 * limits.compute_units else 1}
        tile, counts = abs(problem.body[0].arg), thread_counts(limits)
        return {"THREADS": next((t for t in counts if t * 4 >= tile), counts[-1]), "TURN": 1}

    def render(self, problem: Problem, config: Config, language: Language = C) -> Source:
        last, node = len(problem.space) - 1, problem.body[0]
        t, source = C.type(node.src[0].dtype), node.src[0]
        axes = {axis: f"i{axis}" for axis in range(last + 1)}
        writer = Writer(problem, C, axes, {last: f"i{last}"})
        names: dict[int, str] = {}
        once = writer.statements([n for n in toposort([source]) if len(n.shape) <= last], names)
        element = writer.statements([source], names)
        network = int(config["THREADS"]) > 1
        pieces = {"t": t, "i": f"i{last}", "element": element, "value": names[id(source)]}
        shared = f"SHARED({t}, keys, TILE);\nSHARED(i32, places, TILE);\n" if network else ""
        text = f"const i64 tiles = (n{last} + TILE - 1) / TILE, all = {_product(last)} * tiles;\n"
        text += "const i64 stop = (GROUP(0) + 1) * turn < all ? (GROUP(0) + 1) * turn : all;\n"
        text += "for (i64 item = GROUP(0) * turn; item < stop; ++item) {\n"
        text += "const i64 row = item / tiles, base = (item - row * tiles) * TILE;\n"
        text += f"const i64 count = base + TILE < n{last} ? TILE : n{last} - base;\n"
        text += unravel(C, "row", range(last)) + bases(problem, C, {a: f"i{a}" for a in range(last)}) + once
        text += (_BITONIC if network else _INSERTION).format(**pieces)
        stores = "".join(
            writer.store(k, "base + places[k]" if root.op == "argsort" else "keys[k]")
            for k, root in enumerate(problem.body)
        )
        text += f"FOR_EACH(k, 0, count) {{\nconst i64 i{last} = base + k;\n{stores}}}\n}}\n"
        defines = (("TILE", f"((i64){abs(node.arg)})"), work(problem))
        body = f"{_order(problem)}KERNEL {{\n{shared}{text}}}\n"
        listed = parameters(problem, C, ("turn",))
        group = (int(config["THREADS"]), 1, 1)
        return Source(entry_name(self.name, problem), listed, body, defines, group, filename="sort.c")

    def _tiles(self, problem: Problem) -> int:
        return prod(problem.space[:-1]) * -(-problem.space[-1] // abs(problem.body[0].arg))

    def grid(self, problem: Problem, config: Config) -> tuple[int, int, int]:
        return (-(-self._tiles(problem) // int(config["TURN"])), 1, 1)

    def values(self, problem: Problem, config: Config) -> tuple[int | float, ...]:
        return values(problem, (int(config["TURN"]),))


_SELECTION = """{t} keys[KEEP];
i64 places[KEEP];
i64 filled = 0;
for (i64 block = begin; block < end; block += 256) {{
const i64 block_end = block + 256 < end ? block + 256 : end;
if (filled == KEEP) {{
const {t} worst = keys[KEEP - 1];
i32 found = 0;
for (i64 {i} = block; {i} < block_end; ++{i}) {{
{element}found |= BEFORE({value}, worst);
}}
if (!found) continue;
}}
for (i64 {i} = block; {i} < block_end; ++{i}) {{
{element}if (filled == KEEP && !BEFORE({value}, keys[KEEP - 1])) continue;
i64 at = filled < KEEP ? filled++ : KEEP - 1;
for (; at > 0 && BEFORE({value}, keys[at - 1]); --at) {{
keys[at] = keys[at - 1];
places[at] = places[at - 1];
}}
keys[at] = {value};
places[at] = {i};
}}
}}
for (i64 k = 0; k < filled; ++k) {{
const i64 {i} = part * KEEP + k;
{stores}}}
"""


class Select:
    """One piece per group of one thread, which holds the best few so far and skips blocks with none that is better."""

    name = "select"

    def space(self, problem: Problem, limits: Limits) -> Space:
        applies = problem.kind == "select" and serial(limits) and limits.language.is_c
        return Space({"THREADS": (1,)}) if applies else EMPTY

    def default(self, problem: Problem, limits: Limits) -> Config:
        return {"THREADS": 1}

    def render(self, problem: Problem, config: Config, language: Language = C) -> Source:
        last, source = len(problem.space) - 1, problem.body[0].src[0]
        writer = Writer(problem, C, {axis: f"i{axis}" for axis in range(last + 1)}, {last: f"i{last}"})
        names: dict[int, str] = {}
        once = writer.statements([n for n in toposort([source]) if len(n.shape) <= last], names)
        element = writer.statements([source], names)
        stores = "".join(
            writer.store(k, "places[k]" if root.op == "argsort" else "keys[k]") for k, root in enumerate(problem.body)
        )
        parts = "parts" if problem.parts > 1 else "1"
        text = f"const i64 row = GROUP(0) / {parts}, part = GROUP(0) % {parts};\n"
        text += f"const i64 chunk = (n{last} + {parts} - 1) / {parts}, begin = part * chunk;\n"
        text += f"const i64 end = begin + chunk < n{last} ? begin + chunk : n{last};\n"
        text += unravel(C, "row", range(last)) + bases(problem, C, {a: f"i{a}" for a in range(last)}) + once
        text += _SELECTION.format(
            t=C.type(source.dtype), i=f"i{last}", element=element, value=names[id(source)], stores=stores
        )
        defines = (("KEEP", f"((i64){abs(problem.body[0].arg)})"), work(problem))
        body = f"{_order(problem)}KERNEL {{\n{text}}}\n"
        return Source(
            entry_name(self.name, problem), parameters(problem, C), body, defines, (1, 1, 1), filename="sort.c"
        )

    def grid(self, problem: Problem, config: Config) -> tuple[int, int, int]:
        return (prod(problem.space[:-1]) * problem.parts, 1, 1)

    def values(self, problem: Problem, config: Config) -> tuple[int | float, ...]:
        return values(problem)


_MERGE = """const i64 spans = ({have} + 2 * {width} - 1) / (2 * {width});
const i64 shares = ({keep} + SHARE - 1) / SHARE, share = GROUP(0) * LOCAL_SIZE(0) + LOCAL(0);
if (share < rows * spans * shares) {{
const i64 span = share / shares % spans, row = share / (shares * spans);
const i64 first = span * 2 * {width}, begin = share % shares * SHARE;
const i64 middle = first + {width} < {have} ? first + {width} : {have};
const i64 behind = middle + {width} < {have} ? middle + {width} : {have};
const i64 longest = behind - first < {keep} ? behind - first : {keep};
const i64 end = begin + SHARE < longest ? begin + SHARE : longest;
if (begin < end) {{
{bases}i64 low = begin - (behind - middle), high = begin < middle - first ? begin : middle - first;
low = low < 0 ? 0 : low;
while (low < high) {{
const i64 at = (low + high) / 2, a = first + at, b = middle + begin - 1 - at;
if (BEFORE({key_b}, {key_a})) high = at; else low = at + 1;
}}
i64 a = first + low, b = middle + begin - low;
{t} left = 0, right = 0;
if (a < middle) left = {key_a};
if (b < behind) right = {key_b};
for (i64 k = begin; k < end; ++k) {{
const i64 {i} = span * {keep} + k;
if (a < middle && (b >= behind || !BEFORE(right, left))) {{
{store_a}++a;
if (a < middle) left = {key_a};
}} else {{
{store_b}++b;
if (b < behind) right = {key_b};
}}
}}
}}
}}
"""


class Merge:
    """SHARE results per thread."""

    name = "merge"

    def space(self, problem: Problem, limits: Limits) -> Space:
        if problem.kind != "merge" or not limits.language.is_c:
            return EMPTY
        if serial(limits):
            return Space({"THREADS": (1,), "SHARE": (256, 1024, 4096, 16384)})
        few = Rule("threads with longer shares are too few to hide memory's latency", lambda c: int(c["SHARE"]) <= 64)
        return Space({"THREADS": thread_counts(limits), "SHARE": (4, 8, 16, 32, 64)}, (few,))

    def default(self, problem: Problem, limits: Limits) -> Config:
        if serial(limits):
            return {"THREADS": 1, "SHARE": 4096}
        return {"THREADS": min(128, thread_counts(limits)[-1]), "SHARE": 8}

    def render(self, problem: Problem, config: Config, language: Language = C) -> Source:
        last = len(problem.space) - 1
        keys = problem.body[0].src[0]
        writer = Writer(problem, C, {axis: f"i{axis}" for axis in range(last + 1)}, {last: f"i{last}"})
        width, keep, have = (f"c{s.arg}" for s in problem.body[0].src[-3:])
        bound = {
            "t": C.type(keys.dtype), "i": f"i{last}", "width": width, "keep": keep, "have": have,
            "bases": unravel(C, "row", range(last)) + bases(problem, C, {a: f"i{a}" for a in range(last)}),
        }  # fmt: skip
        for side, held in (("a", "left"), ("b", "right")):
            bound[f"key_{side}"] = _element(problem, keys.arg, last, side)
            bound[f"store_{side}"] = "".join(
                writer.store(k, held if root.op == "sort" else _element(problem, root.src[1].arg, last, side))
                for k, root in enumerate(problem.body)
            )
        text = f"const i64 rows = {_product(last)};\n{_MERGE.format(**bound)}"
        defines = (("SHARE", f"((i64){config['SHARE']})"), work(problem))
        body = f"{_order(problem)}KERNEL {{\n{text}}}\n"
        group = (int(config["THREADS"]), 1, 1)
        return Source(entry_name(self.name, problem), parameters(problem, C), body, defines, group, filename="merge.c")

    def grid(self, problem: Problem, config: Config) -> tuple[int, int, int]:
        width, keep, have = merge_sizes(problem)
        shares = prod(problem.space[:-1]) * -(-have // (2 * width)) * -(-keep // int(config["SHARE"]))
        return (-(-shares // int(config["THREADS"])), 1, 1)

    def values(self, problem: Problem, config: Config) -> tuple[int | float, ...]:
        return values(problem)


def _product(last: int) -> str:
    return " * ".join(f"n{axis}" for axis in range(last)) or "1"


def _element(problem: Problem, number: int, last: int, index: str) -> str:
    """A load of input `number` at `index` along the last axis."""
    operand, name = problem.inputs[number], f"in{number}"
    return f"LOAD({DTYPES[operand.dtype].c}, {name}, {address(name, operand, {last: index}, f'{name}_b')})"
