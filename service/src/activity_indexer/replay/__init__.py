"""Sends dead letters again: corrected where people say so, each once, and none lost."""
