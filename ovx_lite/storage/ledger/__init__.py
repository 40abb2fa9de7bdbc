"""The ledger: what a request causes, written in one transaction before the response is sent.

It holds the accepted events (in the event journal, until the projection has them), the responses to requests with an
Idempotency-Key, the counters of rate limits and of usage, and the messages to webhooks.
"""
