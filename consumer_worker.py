"""Starts the indexer, as `activity-indexer run` does."""

import sys

from activity_indexer.cli import main

if __name__ == "__main__":
    main(["run", *sys.argv[1:]])
