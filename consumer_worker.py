"""Starts the indexer, as `activity-indexer run` does."""

from activity_indexer.cli import main

if __name__ == "__main__":
    main(["run"])
