"""`python -m activity_indexer`."""

from activity_indexer.cli import main

if __name__ == "__main__":
    main()
