"""How groups share the depth of a product's blocks, by the tunables SPLITS and STREAM; see matmul_share.c.

SPLITS: groups that share a block. STREAM: groups that share all blocks by equal runs of their tiles (stream-K), 0 for
none. It is worth trying where whole blocks leave much of the device idle in their last turn. What it saves there is of
the order of what it costs, since each group moves up to two blocks of partial sums more: only measuring tells, and
defaults have none.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from tilewright.backends.protocol import Limits
from tilewright.kernels.space import Config, Rule

SUM_NBYTES = 4
PARTIAL_NBYTES = 40 << 20  # of partial sums, which a loaded program keeps: an A100's last cache holds as many
MOST_SHARERS = 16
MAX_GROUPS = 2**31 - 1  # of a grid, along its first axis
RESERVED_NBYTES = 1 << 10  # of shared memory, for each group, by CUDA itself

SPLITS = (1, 2, 4, 8, MOST_SHARERS)
PER_UNIT = (1, 2, 4)  # groups of a stream on a compute unit


@dataclass(frozen=True, slots=True)
class Work:
    """What a config makes of a product: `blocks` of `sums` results, `tiles` deep each, of `tile_nbytes` of factors."""

    blocks: int
    tiles: int
    sums: int
    tile_nbytes: int


@dataclass(frozen=True)
class Sharing:
    """The rules of SPLITS and STREAM. `held`: how many groups of a config a compute unit holds at a time."""

    units: int
    work: Callable[[Config], Work]
    held: Callable[[Config], int]

    def rules(self) -> tuple[Rule, ...]:
        needed, deep, fits = self.split_rules()
        return (
            Rule("either SPLITS or STREAM says how a depth is shared", self.shared_once),
            needed,
            deep,
            Rule("whole blocks leave idle less than a 16th of the device's turns", self.stream_is_needed),
            Rule("more than 16 groups of the stream share a block, and one adds up their sums", self.stream_is_shallow),
            Rule("groups of the stream move more bytes of partial sums than of factors", self.stream_pays),
            Rule("the device does not hold that many groups of the stream at a time", self.stream_is_held),
            Rule("the device holds four times as many groups of the stream", self.stream_fills),
            fits,
        )

    def split_rules(self) -> tuple[Rule, Rule, Rule]:
        """Those of a template that has no STREAM."""
        return (
            Rule("there are enough blocks to fill the device without splitting their depth", self.splits_are_needed),
            Rule("each part of a depth that is split has at least four tiles", self.splits_are_deep),
            Rule("partial sums take more than 40 MiB", self.fits_partial),
        )

    def splits_are_needed(self, c: Config) -> bool:
        return c["SPLITS"] == 1 or self.work(c).blocks * int(c["SPLITS"]) <= 2 * self.units

    def splits_are_deep(self, c: Config) -> bool:
        return c["SPLITS"] == 1 or 4 * int(c["SPLITS"]) <= self.work(c).tiles

    def shared_once(self, c: Config) -> bool:
        return c["SPLITS"] == 1 or c["STREAM"] == 0

    def stream_is_needed(self, c: Config) -> bool:
        if c["STREAM"] == 0:
            return True
        groups, blocks = int(c["STREAM"]), self.work(c).blocks
        places = groups * -(-blocks // groups)
        return 16 * (places - blocks) >= places

    def stream_is_shallow(self, c: Config) -> bool:
        return c["STREAM"] == 0 or int(c["STREAM"]) <= MOST_SHARERS * self.work(c).blocks

    def stream_pays(self, c: Config) -> bool:
        """Two blocks of sums are written and two read, for the factors of an equal part of the blocks shared."""
        if c["STREAM"] == 0:
            return True
        groups, work = int(c["STREAM"]), self.work(c)
        shared = work.blocks if work.blocks < 2 * groups else groups + work.blocks % groups
        return 4 * SUM_NBYTES * work.sums <= shared * work.tiles // groups * work.tile_nbytes

    def stream_is_held(self, c: Config) -> bool:
        return c["STREAM"] == 0 or int(c["STREAM"]) <= self.units * self.held(c)

    def stream_fills(self, c: Config) -> bool:
        return c["STREAM"] == 0 or 4 * int(c["STREAM"]) > self.units * min(self.held(c), max(PER_UNIT))

    def fits_partial(self, c: Config) -> bool:
        stream = int(c.get("STREAM", 0))
        if stream == 0 and c["SPLITS"] == 1:
            return True
        work = self.work(c)
        partials = 2 * stream or int(c["SPLITS"]) * blocks_most(c, work.blocks)
        return SUM_NBYTES * partials * work.sums <= PARTIAL_NBYTES


def streams(fewest: int, limits: Limits) -> tuple[int, ...]:
    """The values of STREAM worth trying where there are at least `fewest` blocks: many keep the device busy anyway."""
    groups = [per_unit * limits.compute_units for per_unit in PER_UNIT]
    return (0, *(g for g in groups if fewest < 16 * g))


def blocks_most(config: Config, blocks: int) -> int:
    """For how many blocks a program with SPLITS has partial sums: a power of two, so that one serves many sizes."""
    return 1 if config["SPLITS"] == 1 else 1 << (blocks - 1).bit_length()


def share_defines(config: Config, blocks: int, holders: int) -> dict[str, int]:
    """What matmul_share.c asks for beside SPLITS and STREAM; `holders`: threads of a group that hold sums."""
    return {"BLOCKS_MOST": blocks_most(config, blocks), "HOLDERS": holders, "MAX_GROUPS": MAX_GROUPS}


def share_grid(config: Config, blocks: int) -> tuple[int, int, int]:
    return (int(config["STREAM"]) or min(blocks * int(config["SPLITS"]), MAX_GROUPS), 1, 1)
