"""What the operator reads from Kafka: topics, offsets, commits."""
