"""What can be run: nodes, problems, and the kernels that know how. Pure: values in, text out."""

from tilewright.backends.protocol import Limits
from tilewright.kernels.arrays import ARRAYS
from tilewright.kernels.attention import AttentionCpu, AttentionTile
from tilewright.kernels.attention_lanes import AttentionLanes
from tilewright.kernels.columns import Columns
from tilewright.kernels.conv import ConvCpu, ConvDirect, ConvTile
from tilewright.kernels.conv_planes import ConvPlanes
from tilewright.kernels.map import Blocks, Map
from tilewright.kernels.matmul_block import MatmulBlock
from tilewright.kernels.matmul_cpu import MatmulCpu
from tilewright.kernels.matmul_dot import MatmulDot
from tilewright.kernels.matmul_lanes import MatmulLanes
from tilewright.kernels.matmul_mma import MatmulMma
from tilewright.kernels.matmul_tile import MatmulTile
from tilewright.kernels.matmul_wgmma import MatmulWgmma
from tilewright.kernels.problem import Kernel, Operand, Problem
from tilewright.kernels.reduce import Rows
from tilewright.kernels.scan import ScanColumns, ScanRows
from tilewright.kernels.scatter import ScatterOwned, ScatterTiles
from tilewright.kernels.sort import Merge, Select, SortTiles
from tilewright.kernels.turned import Turned

KERNELS: dict[str, tuple[Kernel, ...]] = {
    "map": (Turned(), Blocks(), Map()),
    "reduce": (Rows(), Columns()),
    "row": (Rows(), Columns()),
    "attention": (AttentionCpu(), AttentionLanes(), AttentionTile()),
    "conv": (ConvDirect(), ConvPlanes(), ConvCpu(), ConvTile()),
    "scan": (ScanColumns(), ScanRows()),
    "scatter": (ScatterTiles(), ScatterOwned()),
    "sort": (SortTiles(),),
    "select": (Select(),),
    "merge": (Merge(),),
    "matmul": (MatmulDot(), MatmulLanes(), MatmulCpu(), MatmulWgmma(), MatmulMma(), MatmulTile(), MatmulBlock()),
}
"""The kernels for each kind of problem, the preferred one first."""


EVERYWHERE = ("map", "reduce", "row", "matmul")
"""The kinds that every device computes itself; the others it may leave to the host."""


def kernels_for(kind: str, limits: Limits) -> tuple[Kernel, ...]:
    """Those among which a device with these limits chooses: all, or where it compiles nothing, ops on its arrays."""
    if limits.compiles:
        return KERNELS[kind]
    return (ARRAYS,) if kind in EVERYWHERE else ()


__all__ = ["EVERYWHERE", "KERNELS", "Kernel", "Operand", "Problem", "kernels_for"]
