"""The Kubernetes API: objects, conditions, Events, the cache, the Lease."""
