"""Run the command `ovx-lite` as `python -m ovx_lite`."""

from ovx_lite.cli import main

main()
