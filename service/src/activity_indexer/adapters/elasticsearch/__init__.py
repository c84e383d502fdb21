"""Elasticsearch: bulk requests without the full client, and what commands read and write with it."""
