"""The convolutions of ResNet-50 in both layouts, and depthwise ones, each library's own way.

Weights are (outputs, channels / groups, taps, taps) in that order in memory for all, whatever the layout of the images.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from itertools import product
from typing import Any

import numpy as np

from benchmarks.products import ONCE_SUMMED
from benchmarks.workloads import Workload

Row = tuple[int, int, int, int, int]
# ResNet-50's convolutions (He et al., arXiv 1512.03385, stride in the 3x3 as in torchvision), each shape once:
# input channels, output channels, taps, stride, height and width of the input
RESNET: tuple[Row, ...] = (
    (3, 64, 7, 2, 224), (64, 64, 1, 1, 56), (64, 64, 3, 1, 56), (64, 256, 1, 1, 56), (256, 64, 1, 1, 56),
    (256, 128, 1, 1, 56), (128, 128, 3, 2, 56), (256, 512, 1, 2, 56), (128, 512, 1, 1, 28), (512, 128, 1, 1, 28),
    (128, 128, 3, 1, 28), (512, 256, 1, 1, 28), (256, 256, 3, 2, 28), (512, 1024, 1, 2, 28), (256, 1024, 1, 1, 14),
    (1024, 256, 1, 1, 14), (256, 256, 3, 1, 14), (1024, 512, 1, 1, 14), (512, 512, 3, 2, 14), (1024, 2048, 1, 2, 14),
    (512, 2048, 1, 1, 7), (2048, 512, 1, 1, 7), (512, 512, 3, 1, 7),
)  # fmt: skip
# of MobileNetV2 (Sandler et al., arXiv 1801.04381): a group for each channel
DEPTHWISE: tuple[Row, ...] = ((32, 32, 3, 1, 112), (144, 144, 3, 2, 56), (384, 384, 3, 1, 14), (960, 960, 3, 1, 7))
QUICK = (RESNET[0], RESNET[2], RESNET[13], RESNET[22])


def _torch(torch: Any, x: Any, w: Any, stride: int, last: bool, groups: int) -> Any:
    """With channels last the same memory seen as torch's channels_last."""
    x = x.permute(0, 3, 1, 2) if last else x
    found = torch.nn.functional.conv2d(x, w, stride=stride, padding=w.shape[-1] // 2, groups=groups)
    return found.permute(0, 2, 3, 1) if last else found


def _jax(jnp: Any, x: Any, w: Any, stride: int, last: bool, groups: int) -> Any:
    from jax import lax  # late: an extra

    layouts = ("NHWC", "OIHW", "NHWC") if last else ("NCHW", "OIHW", "NCHW")
    return lax.conv_general_dilated(
        x, w, (stride,) * 2, [(w.shape[-1] // 2,) * 2] * 2, dimension_numbers=layouts, feature_group_count=groups
    )


def _tinygrad(tiny: Any, x: Any, w: Any, stride: int, last: bool, groups: int) -> Any:
    x = x.permute(0, 3, 1, 2) if last else x
    found = tiny.conv(x, w, stride, w.shape[-1] // 2, groups)
    return found.permute(0, 2, 3, 1) if last else found


def _tilewright(tw: Any, x: Any, w: Any, stride: int, last: bool, groups: int) -> Any:
    layout = "NHWC" if last else "NCHW"
    return tw.nn.conv(x, w, stride=stride, padding=w.shape[-1] // 2, groups=groups, layout=layout)


def _general(xp: Any, x: Any, w: Any, stride: int, last: bool, groups: int) -> Any:
    """Windows times weights; depthwise tap by tap."""
    space, edge = (1, 2) if last else (2, 3), (w.shape[-1] // 2,) * 2
    padded = np.pad(x, [edge if axis in space else (0, 0) for axis in range(4)])
    seen = np.lib.stride_tricks.sliding_window_view(padded, w.shape[2:], space)
    seen = seen[:, ::stride, ::stride] if last else seen[:, :, ::stride, ::stride]
    if groups > 1:
        taps = product(*map(range, w.shape[2:]))
        return sum(seen[..., i, j] * (w[:, 0, i, j] if last else w[:, :1, i, j, None]) for i, j in taps)
    if last:
        return np.tensordot(seen, w, ([3, 4, 5], [1, 2, 3]))
    return np.moveaxis(np.tensordot(w, seen, ([1, 2, 3], [1, 4, 5])), 0, 1)


OWN: dict[str, Callable[..., Any]] = {"torch": _torch, "jax": _jax, "tinygrad": _tinygrad, "tilewright": _tilewright}


def _workload(row: Row, last: bool, groups: int) -> Workload:
    channels, outputs, taps, stride, side = row
    after = -(-side // stride)
    given = {"stride": stride, "last": last, "groups": groups}
    # the chart's columns are by the result: 7 and 14 pixels, 28, 56 and more
    size = "small" if after < 28 else "medium" if after == 28 else "large"
    x = (1, side, side, channels) if last else (1, channels, side, side)
    label = "depthwise" if groups > 1 else "conv"
    family = "MobileNet depthwise" if groups > 1 else "ResNet-50 conv"

    def spelled(own: Callable[..., Any]) -> Callable[[Any], Callable[..., Any]]:
        return lambda xp: partial(own, xp, **given)

    return Workload(
        f"{label}{' NHWC' if last else ''} {channels}>{outputs} {taps}x{taps}/{stride} {side}",
        (x, (outputs, channels // groups, taps, taps)), lambda xp, *arrays: _general(xp, *arrays, **given),
        special={library: spelled(own) for library, own in OWN.items()} | ONCE_SUMMED,
        family=f"{family}{', NHWC' if last else ''}", size=size,
        operations=2 * outputs * after**2 * channels // groups * taps**2,
        nbytes=4 * (channels * side**2 + outputs * channels // groups * taps**2 + outputs * after**2),
    )  # fmt: skip


def convolutions(quick: bool) -> Iterator[Workload]:
    """`quick` has four of the first kind only."""
    for last in (False,) if quick else (False, True):
        yield from (_workload(row, last, 1) for row in (QUICK if quick else RESNET))
        if not quick:
            yield from (_workload(row, last, row[0]) for row in DEPTHWISE)
