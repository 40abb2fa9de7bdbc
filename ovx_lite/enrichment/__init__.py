"""Enrichment of hits with browser, traffic source and country, and the parser of access logs."""
