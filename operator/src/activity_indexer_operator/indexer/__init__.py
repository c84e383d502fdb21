"""ActivityIndexers: runs and scales indexers."""
