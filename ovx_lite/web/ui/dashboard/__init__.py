"""The dashboard: its state, data, panels, tables and chart."""
