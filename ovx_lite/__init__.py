"""ovx-lite: a self-hosted web-analytics server in one Python process."""

__version__ = "0.2.0"
