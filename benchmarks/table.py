"""The table that is published: what was measured, how much it was, and of what."""

from typing import NamedTuple


class Row(NamedTuple):
    """A row: what was measured, how much, and how much of what an empty endpoint does."""

    label: str
    value: str
    ratio: float | None = None

    def show(self) -> None:
        """Print it."""
        print(f"| {self.label} | {self.value} | {'' if self.ratio is None else f'{self.ratio:.2f}'} |", flush=True)


def print_header() -> None:
    """Print the head."""
    print("| | | of an empty endpoint |\n| --- | ---: | ---: |", flush=True)
