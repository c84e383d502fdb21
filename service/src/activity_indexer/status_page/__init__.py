"""The page at the indexer's port: what it does now and did in the last hour, without Grafana."""
