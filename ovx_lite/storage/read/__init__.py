"""What dashboards, queries and exports read."""
