"""Devices broken on purpose: the cpu with one promise not kept, each named after what is wrong with it.

Registered as a plug-in through the metadata that lies beside this file, so that other processes find them as well.
"""

from __future__ import annotations

import broken_memory
import broken_programs
import broken_results
import broken_together
from broken_frame import DEVICES, Loads
from broken_together import Sibling

from tilewright.backends.protocol import Found

__all__ = ["DEVICES", "broken_memory", "broken_programs", "broken_results", "broken_together", "discover", "siblings"]


BASES = (Loads, Sibling)


def discover():
    return [Found(device.name, device) for device in (kind() for kind in DEVICES.values() if kind not in BASES)]


def siblings():
    return [Found(device.name, device) for device in map(Sibling, range(2))]
