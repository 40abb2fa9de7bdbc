"""JSON endpoints for programs."""
