"""What an ActivityIndexer asks for once or on a schedule: replays and purges."""
