"""The SQLite store. No other package contains SQL."""
