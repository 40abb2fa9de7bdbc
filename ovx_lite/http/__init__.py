"""HTTP plumbing that knows no page and no product."""
