"""The query language: queries, filters, date ranges and metrics, independent of the storage."""
