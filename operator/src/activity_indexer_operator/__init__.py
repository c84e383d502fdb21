"""Keeps the indexer at the size that its topic calls for: watches ActivityIndexer resources."""
