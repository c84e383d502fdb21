"""Hypothesis' profile for `make fuzz`: the same tests with more examples."""

from hypothesis import HealthCheck, settings

settings.register_profile(
    "fuzz", max_examples=120_000, deadline=None, suppress_health_check=[HealthCheck.too_slow], print_blob=True
)
