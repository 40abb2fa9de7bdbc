"""HTTP plumbing that depends on no page and no product."""
