"""Compares the index with the audit, and repairs the index from it."""
