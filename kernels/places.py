"""Where the extreme of a row is, found on the walk that finds the extreme.

argmin and argmax are recorded as two reductions: of the row, and of the places where the first one's result is found
again. A CPU's lanes keep the place of what they hold instead, so that the row is read once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from tilewright.backends.language import Language
from tilewright.kernels.node import Node

FIRST = "first place"
"""The arg of the "where" between the two: that it chooses among places and a number above them all. Which number
it is only a run tells, so that nobody else's may be taken for one.
"""


def sought(levels: Sequence[Sequence[Node]]) -> dict[int, Node]:
    """For each extreme of the first level, by id, the reduction of the second that gives the first place of it."""
    found: dict[int, Node] = {}
    for node in levels[1] if len(levels) > 1 else ():
        best = _sought(node)
        if best is not None and any(best is first for first in levels[0]):
            found.setdefault(id(best), node)
    return found


def _sought(node: Node) -> Node | None:
    """min(where((x == best) | (x != x), index, n)), the second half for floats alone: what `best` is, if it is found
    here and not stored before.
    """
    chosen = node.src[0]
    if chosen.op != "where" or chosen.arg != FIRST:
        return None
    condition = chosen.src[0]
    x, best = (condition.src[0] if condition.op == "or" else condition).src
    return best if best.op == "reduce" and best.src[0] is x else None


def place_text(
    language: Language, best: Node, place: Node, names: tuple[str, str], element: str, value: str, index: str,
    lanes: int, each: Callable[[int, str], str],
) -> str:  # fmt: skip
    """Statements that set variables of those two `names` from a row's elements from `begin` to `end`, of which
    `element` makes the `value` at `index`. `each`: a loop over so many lanes.
    """
    lesser, whole = ("<=" if best.arg == "max" else ">="), language.type(place.dtype)

    def better(new: str, old: str) -> str:
        """Whether `new` is the extreme and `old` is not; NaN is more extreme than any number."""
        return f"((!({new} {lesser} {old})) & ({old} == {old}))"

    keep = "lanes[lane] = take ? taken : held;\nplaces[lane] = take ? here : places[lane];\n"
    held = language.constant(best.dtype, "held", "lanes[lane]")
    step = f"{held}const i32 take = {better('taken', 'held')};\n{keep}"
    start = language.variable(best.dtype, "first", "0")
    start += f"{{\n{language.let(**{index: 'begin'})}{element}first = {value};\n}}\n"
    start += language.array(best.dtype, "lanes", str(lanes)) + language.array(place.dtype, "places", str(lanes))
    start += each(lanes, "lanes[lane] = first;\nplaces[lane] = 0;\n")
    full = language.let(**{index: "at + lane"}) + element + language.constant(best.dtype, "taken", value)
    full += f"const {whole} here = {index};\n{step}"
    text = start + language.loop("at", "begin", "end - LANES + 1", each(lanes, full), "LANES")
    some = language.let(**{index: "rest + lane"}) + f"{element}taken = {value};\n"
    some = language.variable(best.dtype, "taken", "first") + f"if ((i32)lane < left) {{\n{some}}}\n"
    some += f"const {whole} here = rest + lane;\n{step}"
    text += language.let(rest="begin + (end - begin) / LANES * LANES")
    text += f"if (rest < end) {{\nconst i32 left = end - rest;\n{each(lanes, some)}}}\n"
    half = lanes // 2
    while half:
        two = held + language.constant(best.dtype, "taken", f"lanes[lane + {half}]")
        two += f"const {whole} here = places[lane + {half}];\n"
        two += "const i32 alike = (taken == held) | ((taken != taken) & (held != held));\n"
        two += f"const i32 take = {better('taken', 'held')} | (alike & (here < places[lane]));\n"
        text += each(half, two + keep)
        half //= 2
    return f"{{\n{text}{names[0]} = lanes[0];\n{names[1]} = places[0];\n}}\n"
