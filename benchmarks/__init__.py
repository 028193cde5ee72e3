"""Real programs (digits, photo) and side-by-side measurements (`python -m benchmarks`)."""

from os import environ

# Read when a library is first loaded, so set before any is. A pool that spins after its work takes the cores from the
# library that is timed next: OpenMP's wait passively; OpenBLAS's threads spin for 2^24 cycles, 7 ms, in place of 2^28.
# Less than its own next call takes to come would make NumPy slow: sleeping threads are woken on the caller's core.
environ.setdefault("OMP_WAIT_POLICY", "passive")
environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "24")
