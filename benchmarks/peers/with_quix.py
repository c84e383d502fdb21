"""Quix Streams: a data frame of the topic, and its sink for Elasticsearch."""

import logging

from common import BATCH, ELASTICSEARCH, GROUP, INDEX, KAFKA, TOPIC, enrich
from quixstreams import Application
from quixstreams.sinks.community.elasticsearch import ElasticsearchSink

logging.disable(logging.CRITICAL)
app = Application(
    broker_address=KAFKA, consumer_group=GROUP, auto_offset_reset="earliest", commit_every=BATCH, loglevel=None
)
frame = app.dataframe(app.topic(TOPIC, value_deserializer="json")).apply(lambda event: enrich(event)[0])
frame.sink(
    ElasticsearchSink(
        url=ELASTICSEARCH, index=INDEX, document_id_setter=lambda item: item.value["id"], batch_size=BATCH
    )
)
app.run()
