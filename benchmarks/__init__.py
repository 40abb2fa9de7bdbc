"""Measures ovx-lite against an empty endpoint, in one run: `python -m benchmarks`."""
