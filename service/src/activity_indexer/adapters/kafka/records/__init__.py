"""What a broker sends, decoded here: batches that cannot be decoded are isolated, not fatal."""
