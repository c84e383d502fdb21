"""The objects of an indexer that the operator runs: values in, values out."""
