"""Devices of groups that break a promise: OpenCL's first device, with its text or its word changed.

They are no plug-ins: a check is made on them in the process that asks for them. Needs PyOpenCL and a device.
"""

from __future__ import annotations

from dataclasses import replace

from tilewright.backends import opencl_device
from tilewright.backends.opencl_device import OpenclDevice
from tilewright.backends.registry import get_device


class Grouped(OpenclDevice):
    """`changes` are strings of the whole text and what stands in their place."""

    changes = ()

    def __init__(self):
        first = get_device("opencl:0")
        super().__init__(f"broken:{type(self).__name__}", first.handle)
        versions = (*self.fingerprint.versions, ("broken", type(self).__name__))  # its binaries serve no other device
        self.fingerprint = replace(self.fingerprint, backend="broken", versions=versions)

    def build(self, source):
        whole, plain = opencl_device.opencl_text(source, self.limits.lanes), opencl_device.opencl_text
        for old, new in self.changes:
            assert old in whole, old
            whole = whole.replace(old, new)
        opencl_device.opencl_text = lambda source, lanes: whole
        try:
            return super().build(source)
        finally:
            opencl_device.opencl_text = plain


class barrier_does_nothing(Grouped):
    changes = (("#define BARRIER() barrier(CLK_LOCAL_MEM_FENCE | CLK_GLOBAL_MEM_FENCE)", "#define BARRIER()"),)


class fewer_threads_than_claimed(Grouped):
    def __init__(self):
        super().__init__()
        self.limits = replace(self.limits, threads_per_group=8 * self.limits.threads_per_group)


DEVICES = {kind.__name__: kind for kind in Grouped.__subclasses__()}
