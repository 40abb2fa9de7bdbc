"""The query language: queries, filters, date ranges and metrics. It knows no engine."""
