"""Writes documents again from events: shared by reconcile and reindex."""
