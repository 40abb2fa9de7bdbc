"""Goals, webhook subscriptions, the outbox and the delivery log."""
