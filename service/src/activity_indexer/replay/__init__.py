"""Sends dead letters again: corrected where a user says so, each once, and none lost."""
