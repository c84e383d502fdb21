"""What the indexer says of itself: logs, metrics and health."""
