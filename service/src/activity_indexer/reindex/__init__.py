"""Builds a new index version beside a running indexer, and moves the alias to it."""
