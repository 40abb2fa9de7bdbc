"""What an operator's monitoring asks for, in Prometheus' text format. Pure."""

from bisect import bisect_left
from collections.abc import Iterable, Mapping

_BOUNDS = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0)

Sample = tuple[Mapping[str, str], float]
"""Labels, and a value."""


class Histogram:
    """How often something took how long, in seconds."""

    def __init__(self) -> None:
        self._counts = [0] * (len(_BOUNDS) + 1)
        self.total = 0.0

    def add(self, seconds: float) -> None:
        """Count one that took so long."""
        self._counts[bisect_left(_BOUNDS, seconds)] += 1
        self.total += seconds

    def shown(self, name: str, sentence: str) -> str:
        """It as a family of metrics."""
        lines, counted = [f"# HELP {name} {sentence}", f"# TYPE {name} histogram"], 0
        for bound, count in zip((*map(str, _BOUNDS), "+Inf"), self._counts, strict=True):
            counted += count
            lines.append(f'{name}_bucket{{le="{bound}"}} {counted}')
        return "\n".join([*lines, f"{name}_sum {self.total:.6f}", f"{name}_count {counted}"]) + "\n"


def family(name: str, kind: str, sentence: str, samples: Iterable[Sample]) -> str:
    """A family of metrics: its name, `counter` or `gauge`, what it is, and a value for each set of labels."""
    lines = [f"# HELP {name} {sentence}", f"# TYPE {name} {kind}"]
    for labels, value in samples:
        told = ",".join(f'{label}="{text}"' for label, text in labels.items())
        lines.append(f"{name}{{{told}}} {value:.15g}" if told else f"{name} {value:.15g}")
    return "\n".join(lines) + "\n"
