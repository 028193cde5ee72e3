"""Real programs (digits, photo) and side-by-side measurements (`python -m benchmarks`)."""

from os import environ

# Read when a library is first loaded, so set before any is. A pool that spins after its work takes the cores from the
# library that is timed next: OpenMP's wait passively; OpenBLAS's threads spin for 2^16 cycles in place of 2^26.
environ.setdefault("OMP_WAIT_POLICY", "passive")
environ.setdefault("OPENBLAS_THREAD_TIMEOUT", "16")
