"""Which weights, from where; each loaded once, shared, and dropped on demand."""
