"""Kafka, by aiokafka: the group's member, positions, dead letters, and the audit's source."""
