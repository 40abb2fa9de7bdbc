"""The store: one SQLite file. SQL is here and nowhere else, by noun."""
