"""What is known of merchants, cards, crypto assets and networks."""
