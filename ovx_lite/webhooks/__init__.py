"""Webhooks without a store: triggers, messages, address checks and the HTTP client."""
