"""Spans of reconcile passes, of calls and of replays."""
