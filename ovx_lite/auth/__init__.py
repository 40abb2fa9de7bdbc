"""API keys, JWTs, passwords, rate limits and the login throttle."""
