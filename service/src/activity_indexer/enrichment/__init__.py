"""What users search and filter by: strategies by transaction type, and the searchable content."""

from activity_indexer.enrichment.declared import DeclaredStrategy, Part, Text
from activity_indexer.enrichment.registry import Registry, load_enrichments
from activity_indexer.enrichment.strategy import Enrichment, EnrichmentStrategy
from activity_indexer.enrichment.vocabulary import Vocabulary

__all__ = [
    "DeclaredStrategy",
    "Enrichment",
    "EnrichmentStrategy",
    "Part",
    "Registry",
    "Text",
    "Vocabulary",
    "load_enrichments",
]
