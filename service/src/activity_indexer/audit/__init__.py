"""The audit: a consumer group of its own writes every valid event to a database, and indexing never waits for it."""
