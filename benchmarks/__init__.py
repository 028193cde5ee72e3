"""Real programs (digits, photo) and side-by-side measurements (`python -m benchmarks`)."""

from os import environ

# Read when a library is first loaded, so set before any is: OpenMP pools that spin after their work take the cores from
# the library that is timed next. OpenBLAS's threads spin for 2^26 cycles and are left to: told to sleep at once, they
# are woken on the caller's core, and NumPy's products take milliseconds. The pause between samples is longer than that.
environ.setdefault("OMP_WAIT_POLICY", "passive")
