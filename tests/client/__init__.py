"""A small program that speaks to the stand-in, and its tests."""
