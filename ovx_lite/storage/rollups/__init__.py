"""Daily and weekly counts by dimension: definitions, rebuilding and finalising."""
