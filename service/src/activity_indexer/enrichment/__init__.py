"""What people search and filter by: strategies by transaction type, and the searchable content."""

from activity_indexer.enrichment.registry import Registry, load_enrichments
from activity_indexer.enrichment.strategy import Enrichment, EnrichmentStrategy

__all__ = ["Enrichment", "EnrichmentStrategy", "Registry", "load_enrichments"]
