"""Metrics as Prometheus reads them."""

import re

SAMPLE = re.compile(r'([a-z_]+)(\{(?:[a-z]+="[^"\n]*",?)+\})? (\S+)')


def samples(text: str) -> dict[str, float]:
    """All samples of a page that is as Prometheus wants it."""
    values, families = {}, set()
    for line in text.splitlines():
        if line.startswith("# TYPE "):
            families.add(line.split()[2])
        elif not line.startswith("# HELP "):
            sample = SAMPLE.fullmatch(line)
            assert sample, line
            assert re.sub("_(bucket|sum|count)$", "", sample[1]) in families, line
            values[sample[1] + (sample[2] or "")] = float(sample[3])
    assert text.endswith("\n")
    return values
