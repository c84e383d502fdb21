"""What the indexer reports about itself: logs, metrics and health."""
