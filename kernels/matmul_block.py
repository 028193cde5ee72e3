"""Matrix product as a generated kernel, for devices whose language is not the C of the templates."""

from __future__ import annotations

from tilewright.backends.dtypes import DTYPES
from tilewright.backends.language import C, Language
from tilewright.backends.protocol import Limits, Source
from tilewright.kernels.emit import Writer, entry_name, iterations, parameters, spell, start, values
from tilewright.kernels.matmul_header import BATCH, COLUMN, DEPTH, ROW, Factor, dot_of, factors
from tilewright.kernels.matmul_tile import group_threads
from tilewright.kernels.problem import Problem
from tilewright.kernels.space import EMPTY, Config, Rule, Space, ends

CHOICES: dict[str, tuple[int, ...]] = {
    "SHARED_TILES": (0, 1),
    "BLOCK_M": (8, 16, 32, 64, 128),
    "BLOCK_N": (8, 16, 32, 64, 128),
    "BLOCK_K": (8, 16, 32),
    "TILE_M": (1, 2, 4, 8),
    "TILE_N": (1, 2, 4, 8),
}
BLOCKS = ((64, 64, 16, 4, 4), (32, 32, 16, 4, 2), (16, 32, 16, 2, 2), (16, 16, 16, 1, 2), (8, 8, 8, 1, 1))
"""What `default` tries, the largest first, in the order of CHOICES, behind SHARED_TILES."""


class MatmulBlock:
    """BLOCK_M x BLOCK_N results a group, TILE_M x TILE_N a thread, BLOCK_K deep at a time through shared memory.

    SHARED_TILES 0 leaves that to the caches: a software renderer pays dearly for barriers.
    """

    name = "matmul_block"

    def space(self, problem: Problem, limits: Limits) -> Space:
        if problem.kind != "matmul" or limits.language.name == C.name:
            return EMPTY
        _, m, n, depth = problem.space
        nbytes = 16 if dot_of(problem).dtype == "complex128" else 8  # at most, of what is summed

        def fits_shared(c: Config) -> bool:
            fits = int(c["BLOCK_K"]) * (int(c["BLOCK_M"]) + int(c["BLOCK_N"])) * nbytes <= limits.shared_nbytes
            return fits or not c["SHARED_TILES"]

        def walked(c: Config) -> int:
            filled = int(c["BLOCK_K"]) * (int(c["BLOCK_M"]) + int(c["BLOCK_N"])) // group_threads(c) + 2
            step = int(c["BLOCK_K"]) + 1 + filled * iterations(problem)
            stored = int(c["TILE_M"]) * (int(c["TILE_N"]) + 1) * iterations(problem)
            if not c["SHARED_TILES"]:
                return depth * (int(c["TILE_M"]) + int(c["TILE_N"])) * iterations(problem) + stored
            return -(-depth // int(c["BLOCK_K"])) * step + stored

        rules = (
            Rule("the device takes no such group", lambda c: group_threads(c) <= limits.threads_per_group),
            Rule("fewer threads than a sub-group leave lanes idle", lambda c: group_threads(c) >= limits.subgroup),
            Rule("the block is larger than the whole result",
                 lambda c: int(c["BLOCK_M"]) < max(9, 2 * m) and int(c["BLOCK_N"]) < max(9, 2 * n)),
            Rule("more than 64 sums of a thread spill registers", lambda c: int(c["TILE_M"]) * int(c["TILE_N"]) <= 64),
            Rule("the tiles of both factors must fit into shared memory", fits_shared),
            Rule("without shared tiles there is no depth of a tile",
                 lambda c: bool(c["SHARED_TILES"]) or c["BLOCK_K"] == CHOICES["BLOCK_K"][0]),
            ends(limits, walked),
        )  # fmt: skip
        return Space(CHOICES, rules)

    def default(self, problem: Problem, limits: Limits) -> Config:
        space = self.space(problem, limits)
        host = bool(limits.iterations)  # a software renderer
        for sizes in BLOCKS:
            config: Config = dict(zip(CHOICES, (int(not host), *sizes), strict=True))
            if host:
                config["BLOCK_K"] = CHOICES["BLOCK_K"][0]
            if space.refusal(config) is None:
                return config
        return next(iter(space))

    def render(self, problem: Problem, config: Config, language: Language = C) -> Source:
        text = _Text(problem, language, config)
        body = language.kernel(text.body(), text.shared())
        defines = tuple((name, int(value)) for name, value in config.items())
        entry, group = entry_name(self.name, problem), (group_threads(config), 1, 1)
        return Source(entry, parameters(problem, language), body, defines, group, filename="matmul_block.c")

    def grid(self, problem: Problem, config: Config) -> tuple[int, int, int]:
        batch, m, n, _ = problem.space
        return (batch * -(-m // int(config["BLOCK_M"])) * -(-n // int(config["BLOCK_N"])), 1, 1)

    def values(self, problem: Problem, config: Config) -> tuple[int | float, ...]:
        return values(problem)


class _Text:
    """A thread's rows lie BLOCK_M / TILE_M apart and its columns BLOCK_N / TILE_N, so that neighbours store side by
    side. Sums have names of their own, s0, s1, ...: an array might not stay in registers.
    """

    def __init__(self, problem: Problem, language: Language, config: Config) -> None:
        self.problem, self.language, self.dtype = problem, language, dot_of(problem).dtype
        self.rows, self.columns, self.tiles = int(config["TILE_M"]), int(config["TILE_N"]), bool(config["SHARED_TILES"])
        self.zero = start(language, "max" if self.dtype == "bool" else "sum", self.dtype)

    def shared(self) -> str:
        shared = self.language.shared
        if not self.tiles:
            return ""
        return shared(self.dtype, "held_a", "BLOCK_K * BLOCK_M") + shared(self.dtype, "held_b", "BLOCK_K * BLOCK_N")

    def body(self) -> str:
        language = self.language
        count = self.rows * self.columns
        text = language.let(high="(n1 + BLOCK_M - 1) / BLOCK_M", wide="(n2 + BLOCK_N - 1) / BLOCK_N")
        text += language.let(b="GROUP(0) / (high * wide)", block="GROUP(0) % (high * wide)")
        text += language.let(top="block / wide * BLOCK_M", left="block % wide * BLOCK_N")
        text += language.let(y="LOCAL(0) / (BLOCK_N / TILE_N)", x="LOCAL(0) % (BLOCK_N / TILE_N)")
        text += "".join(language.variable(self.dtype, f"s{k}", self.zero) for k in range(count))
        text += self._in_tiles() if self.tiles else self._in_place()
        text += language.array(self.dtype, "sums", str(count)) + "".join(f"sums[{k}] = s{k};\n" for k in range(count))
        return text + language.loop("r", "0", "TILE_M", language.loop("c", "0", "TILE_N", self._finish()))

    def _in_tiles(self) -> str:
        language = self.language
        first, second = factors(self.problem)
        step = self._bring(first, "held_a", "i", "top", "n1", "BLOCK_M")
        step += self._bring(second, "held_b", "j", "left", "n2", "BLOCK_N")
        step += "BARRIER();\n" + language.loop("q", "0", "BLOCK_K", self._multiply()) + "BARRIER();\n"
        return language.loop("depth", "0", "n3", step, "BLOCK_K")

    def _in_place(self) -> str:
        """Each thread reads its rows and columns itself; those behind the end are the last one again."""
        language, (first, second) = self.language, factors(self.problem)
        text = step = ""
        for factor, letter, index, origin, extent, count in (
            (first, "a", "i", f"top + y + {{}} * {self._apart(0)}", "n1", self.rows),
            (second, "b", "j", f"left + x + {{}} * {self._apart(1)}", "n2", self.columns),
        ):
            writer = Writer(self.problem, language, {BATCH: "b", factor.axis: index, DEPTH: "p"}, {}, based=False)
            for k in range(count):
                place = origin.format(k)
                inside = language.choose(f"{place} < {extent}", place, f"{extent} - 1")
                text += language.let(**{f"{index}_{k}": inside})
                names: dict[int, str] = {}
                block = language.let(**{index: f"{index}_{k}"}) + writer.statements([factor.root], names)
                step += language.variable(self.dtype, f"{letter}{k}", self.zero)
                step += f"{{\n{block}{letter}{k} = {names[id(factor.root)]};\n}}\n"
        return text + language.loop("p", "0", "n3", step + self._sums())

    def _apart(self, axis: int) -> str:
        """How far a thread's rows (axis 0) or columns lie from each other."""
        return ("(BLOCK_M / TILE_M)", "(BLOCK_N / TILE_N)")[axis]

    def _bring(self, factor: Factor, held: str, index: str, origin: str, extent: str, block: str) -> str:
        """All threads fill one tile in shared memory, with zeros behind the factor's end."""
        language = self.language
        inner = "BLOCK_K" if factor.along_k else block  # neighbouring threads read along what lies in order
        depth, along = ("e % " + inner, "e / " + inner) if factor.along_k else ("e / " + inner, "e % " + inner)
        text = language.let(p_at=depth, at=along) + language.let(p="depth + p_at", **{index: f"{origin} + at"})
        text += language.variable(self.dtype, "element", self.zero)
        writer = Writer(self.problem, language, {BATCH: "b", factor.axis: index, DEPTH: "p"}, {}, based=False)
        names: dict[int, str] = {}
        inside = writer.statements([factor.root], names)
        text += f"if ({index} < {extent} && p < n3) {{\n{inside}element = {names[id(factor.root)]};\n}}\n"
        text += f"{held}[p_at * {block} + at] = element;\n"
        return language.each("e", "0", f"BLOCK_K * {block}", text)

    def _multiply(self) -> str:
        """One step of depth q: TILE_M elements of the one factor times TILE_N of the other."""
        language, dtype = self.language, self.dtype
        text = ""
        for r in range(self.rows):
            text += language.constant(dtype, f"a{r}", f"held_a[q * BLOCK_M + y + {r} * {self._apart(0)}]")
        for c in range(self.columns):
            text += language.constant(dtype, f"b{c}", f"held_b[q * BLOCK_N + x + {c} * {self._apart(1)}]")
        return text + self._sums()

    def _sums(self) -> str:
        text = ""
        for k in range(self.rows * self.columns):
            a, b, total = f"a{k // self.columns}", f"b{k % self.columns}", f"s{k}"
            text += f"{total} = {self._multiply_add(a, b, total)};\n"
        return text

    def _multiply_add(self, a: str, b: str, total: str) -> str:
        if DTYPES[self.dtype].kind == "f":
            return f"FMA({a}, {b}, {total})"
        times, plus = ("and", "or") if self.dtype == "bool" else ("mul", "add")
        both = [self.dtype, self.dtype]
        return spell(self.language, plus, both, [total, spell(self.language, times, both, [a, b])])

    def _finish(self) -> str:
        """The epilogue: from the sum, which is that of a dot product in its own dtype, to what is stored."""
        language, problem = self.language, self.problem
        text = language.let(i=f"top + y + r * {self._apart(0)}", j=f"left + x + c * {self._apart(1)}")
        writer = Writer(problem, language, {BATCH: "b", ROW: "i", COLUMN: "j"}, {}, based=False)
        names = {id(dot_of(problem)): "product"}
        inside = language.constant(self.dtype, "product", "sums[r * TILE_N + c]")
        inside += writer.statements(problem.body, names)
        inside += "".join(writer.store(k, names[id(root)]) for k, root in enumerate(problem.body))
        return f"{text}if (i < n1 && j < n2) {{\n{inside}}}\n"
