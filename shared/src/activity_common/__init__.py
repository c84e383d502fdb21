"""What the indexer, the operator and the load generator must agree on. It imports none of them."""
