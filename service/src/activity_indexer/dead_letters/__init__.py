"""Dead letters as operators work with them: read, selected, explained, exported and brought back."""
