"""Dead letters as people work with them: read, selected, explained, exported and brought back."""
