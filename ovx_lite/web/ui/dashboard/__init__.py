"""The dashboard: state (from the URL), data, panels, tables and chart."""
