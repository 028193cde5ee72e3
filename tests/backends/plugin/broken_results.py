"""Devices that compute something wrong, or die of it."""

from __future__ import annotations

import os
import time
from dataclasses import replace

from broken_frame import Broken, changed

from tilewright.backends.cpu import c_text


class fast_math(Broken):
    """NaN, infinity and -0 are said not to exist. (All of -ffast-math would flush subnormals in the whole process.)"""

    own_text = True

    def build(self, source):
        flags = ("-ffinite-math-only", "-fno-signed-zeros", "-fassociative-math")
        compiler = replace(self.compiler, command=(*self.compiler.command, *flags))
        return compiler.compile(self.text(source))


class float32_for_float64(Broken):
    own_text = True
    text = changed(("#define STORE_f64(p, i, v) ((p)[i] = (v))", "#define STORE_f64(p, i, v) ((p)[i] = (f32)(v))"))


class subnormals_flushed(Broken):
    """A float32 below the smallest normal number counts as 0 when it is read, as with a mode that GPUs have."""

    own_text = True
    text = changed(
        ("#define LOAD_f32(p, i) ((p)[i])", "#define LOAD_f32(p, i) ((p)[i] * !(__builtin_fabsf((p)[i]) < 0x1p-126f))")
    )


class half_truncated(Broken):
    """A float16 is cut instead of rounded."""

    own_text = True
    text = changed(("0x38000000u + 0x0fffu + ((magnitude >> 13) & 1u)) >> 13", "0x38000000u) >> 13"))


class loop_one_too_far(Broken):
    own_text = True
    text = changed(("simd) for (i64 i = (begin); i < (end); i++)", "simd) for (i64 i = (begin); i <= (end); i++)"))


class reduction_one_short(Broken):
    """Of a long row's last vector, which is not full."""

    own_text = True

    @staticmethod
    def text(source):
        return c_text(source).replace("left = block_end - rest", "left = block_end - rest - (block_end > 4000)")


class max_forgets_nan(Broken):
    own_text = True
    text = changed(("return a != a ? a : larger;", "return larger;"))


class wild_stores(Broken):
    """Every store of an int8 reaches one element further."""

    own_text = True
    text = changed(("STORE_i8(p, i, v) ((p)[i] = (v))", "STORE_i8(p, i, v) ((p)[i] = (v), (p)[(i) + 1] = (v))"))


class claims_what_it_lacks(Broken):
    own_text = True
    text = changed(("#define LOAD_f64(p, i) ((p)[i])", "#define LOAD_f64(p, i) ((p)[i] + no_float64_here)"))


class vendor_ignores_offsets(Broken):
    def vendor(self, call):
        flat = [replace(layout, offset=0) for layout in (*call.outputs, *call.inputs)]
        return super().vendor(replace(call, outputs=(flat[0],), inputs=(flat[1], flat[2])))


class vendor_ignores_strides(Broken):
    """Every matrix is taken to lie row by row, one behind the other."""

    def vendor(self, call):
        outputs, inputs = (tuple(map(dense, layouts)) for layouts in (call.outputs, call.inputs))
        return super().vendor(replace(call, outputs=outputs, inputs=inputs))


def dense(layout):
    _, rows, columns = layout.shape
    return replace(layout, strides=(rows * columns * (layout.strides[0] > 0), columns, 1))


class crashes(Broken):
    """The process dies when four bytes are copied."""

    def copy(self, source, target, nbytes, source_offset=0, target_offset=0):
        if nbytes == 20:
            os.abort()
        super().copy(source, target, nbytes, source_offset, target_offset)


class hangs(Broken):
    def copy(self, source, target, nbytes, source_offset=0, target_offset=0):
        if nbytes == 20:
            time.sleep(3600)
        super().copy(source, target, nbytes, source_offset, target_offset)
