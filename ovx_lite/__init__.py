"""ovx-lite: a self-hosted web-analytics server in one Python process."""

__version__ = "0.3.0"
