"""Goals, webhooks, the outbox and the delivery log."""
