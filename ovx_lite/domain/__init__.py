"""The data model and rules of web analytics. Nothing here does I/O."""
