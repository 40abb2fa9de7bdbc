"""Metrics in Prometheus' text format. Pure."""

from bisect import bisect_left
from collections.abc import Iterable, Mapping

_BUCKETS_S = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)

Sample = tuple[Mapping[str, str], float]
"""The labels of a sample, and its value."""


class Histogram:
    """A histogram of durations in seconds."""

    def __init__(self) -> None:
        self._counts = [0] * (len(_BUCKETS_S) + 1)
        self.total_s = 0.0

    def observe(self, duration_s: float) -> None:
        """Count one duration."""
        self._counts[bisect_left(_BUCKETS_S, duration_s)] += 1
        self.total_s += duration_s

    def render(self, name: str, help_text: str) -> str:
        """Return the histogram as a metric family, ending in a line feed."""
        lines, cumulative = [f"# HELP {name} {help_text}", f"# TYPE {name} histogram"], 0
        for bound, count in zip((*map(str, _BUCKETS_S), "+Inf"), self._counts, strict=True):
            cumulative += count
            lines.append(f'{name}_bucket{{le="{bound}"}} {cumulative}')
        return "\n".join([*lines, f"{name}_sum {self.total_s:.6f}", f"{name}_count {cumulative}"]) + "\n"


def render_family(name: str, metric_type: str, help_text: str, samples: Iterable[Sample]) -> str:
    """Return a metric family with its samples, ending in a line feed. `metric_type` is `counter` or `gauge`."""
    lines = [f"# HELP {name} {help_text}", f"# TYPE {name} {metric_type}"]
    for labels, value in samples:
        label_text = ",".join(f'{label}="{text}"' for label, text in labels.items())
        lines.append(f"{name}{{{label_text}}} {value:.15g}" if label_text else f"{name} {value:.15g}")
    return "\n".join(lines) + "\n"
