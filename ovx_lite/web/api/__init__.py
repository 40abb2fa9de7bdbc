"""JSON endpoints, for programs."""
