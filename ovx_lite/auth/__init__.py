"""API keys and JWTs, passwords, rate limits and the login throttle."""
