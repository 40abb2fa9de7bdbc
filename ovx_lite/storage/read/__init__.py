"""Queries over events, visits and rollups, for the dashboard, the API and exports."""
