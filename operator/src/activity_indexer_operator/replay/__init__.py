"""DeadLetterReplays."""
