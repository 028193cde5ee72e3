"""What was tried for workloads that are, or were, below an aim: the page quotes it."""

TRIED = {}
