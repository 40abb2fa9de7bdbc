"""What happens in the transaction that stores events."""
