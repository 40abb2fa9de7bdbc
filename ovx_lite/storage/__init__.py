"""The SQLite store: the only package with SQL."""
