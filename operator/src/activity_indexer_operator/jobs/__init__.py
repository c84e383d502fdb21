"""The Jobs that the operator creates, and their state."""
