"""Starts the operator: `activity-indexer-operator`."""
