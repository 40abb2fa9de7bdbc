"""A small program that uses the emulator, and its tests."""
