"""Tracing by OpenTelemetry: imported only where it is on."""
