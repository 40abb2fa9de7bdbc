"""Webhooks, independent of the storage: triggers, messages, address checks and the HTTP client."""
