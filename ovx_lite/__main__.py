"""`python -m ovx_lite` is `ovx-lite`."""

from ovx_lite.cli import main

main()
