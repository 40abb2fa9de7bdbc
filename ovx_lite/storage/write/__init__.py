"""Writing events, visits, rollups, identity links and webhook deliveries, in the transaction that stores the events."""
