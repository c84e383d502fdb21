"""The rules of OpenTelemetry's standard variables that decide whether anything is sent. It imports no SDK."""

from __future__ import annotations


def export_is_on(exporter: str, *endpoints: str, disabled: str | bool) -> bool:
    """Whether a signal is sent: an endpoint turns it on, or its exporter `otlp`; `none` and `disabled` turn it off.

    `disabled` is the value of OTEL_SDK_DISABLED, of which only `true` means that, in any case.
    """
    if str(disabled).strip().lower() == "true":
        return False
    return exporter == "otlp" or (not exporter and any(endpoints))
