"""What can be run: nodes, problems, and the kernels that know how. Pure: values in, C text out."""

from tilewright.kernels.columns import Columns
from tilewright.kernels.map import Blocks, Map
from tilewright.kernels.matmul_block import MatmulBlock
from tilewright.kernels.matmul_cpu import MatmulCpu, MatmulDot
from tilewright.kernels.matmul_tile import MatmulTile
from tilewright.kernels.problem import Kernel, Operand, Problem
from tilewright.kernels.reduce import Rows
from tilewright.kernels.scan import ScanColumns, ScanRows
from tilewright.kernels.sort import Merge, Select, SortTiles

KERNELS: dict[str, tuple[Kernel, ...]] = {
    "map": (Blocks(), Map()),
    "reduce": (Rows(), Columns()),
    "row": (Rows(),),
    "scan": (ScanColumns(), ScanRows()),
    "sort": (SortTiles(),),
    "select": (Select(),),
    "merge": (Merge(),),
    "matmul": (MatmulDot(), MatmulCpu(), MatmulTile(), MatmulBlock()),
}
"""The kernels for each kind of problem, the preferred one first."""

__all__ = ["KERNELS", "Kernel", "Operand", "Problem"]
