"""The published table: measurements, their values, and their ratios to the empty endpoint."""

from typing import NamedTuple


class Row(NamedTuple):
    """A row: what was measured, its value, and its ratio to an empty endpoint."""

    label: str
    value: str
    ratio: float | None = None

    def show(self) -> None:
        """Print the row."""
        print(f"| {self.label} | {self.value} | {'' if self.ratio is None else f'{self.ratio:.2f}'} |", flush=True)


def print_header() -> None:
    """Print the header of the table."""
    print("| | | of an empty endpoint |\n| --- | ---: | ---: |", flush=True)
