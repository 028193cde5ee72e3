"""Real programs (digits, photo) and side-by-side measurements (`python -m benchmarks`)."""
