"""The metrics of the indexer: declared once, counted per batch, exposed for Prometheus and by OTLP."""
