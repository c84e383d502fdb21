"""The dead-letter topic: written to, read, restored, and replayed in transactions."""
