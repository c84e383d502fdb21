"""The strategies that come with the indexer: every class here that has the shape of a strategy is found and used."""
