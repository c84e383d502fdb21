"""Activity Indexer."""
