"""Daily and weekly counts by dimension: their dimensions, and how they are rebuilt, limited and finalized."""
