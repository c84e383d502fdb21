"""What every controller runs on: the queue, watches, the HTTP port, metrics."""
