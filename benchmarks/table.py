"""The table that is published: what was measured, how much it was, and of what."""

from typing import NamedTuple


class Row(NamedTuple):
    """A row: what was measured, how much, and how much of what an empty endpoint does."""

    what: str
    much: str
    ratio: float | None = None

    def show(self) -> None:
        """Print it."""
        print(f"| {self.what} | {self.much} | {'' if self.ratio is None else f'{self.ratio:.2f}'} |", flush=True)


def begin() -> None:
    """Print the head."""
    print("| | | of an empty endpoint |\n| --- | ---: | ---: |", flush=True)
