"""Draws a trace that a Jaeger has: its spans over time, whose they are, and what they are linked to.

    python demo/trace_picture.py TRACE_ID --jaeger http://localhost:16686 -o trace.html     # or trace.png

With `--linked` the traces that it links to are drawn below it: the batches that its event was in, and its replay.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import urllib.request
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Final

from picture_browser import photograph
from picture_spans import Span, Trace, parse
from picture_units import said
from picture_waterfall import WIDTH, waterfall

HEAD: Final = 66
"""Pixels above the spans of a trace."""
STYLE: Final = """
body { margin: 0; background: #fff; font: 13px/1.3 "DejaVu Sans", Helvetica, Arial, sans-serif; color: #24303a; }
section { padding: 0 16px; } h2 { font-size: 16px; margin: 0; padding: 16px 0 2px; } p { margin: 0; color: #66737f; }
svg { display: block; } text { font-size: 12px; fill: #24303a; } .dim { fill: #7b8791; } .bad { fill: #b3261e; }
.name { font-weight: bold; } .grid { stroke: #e6eaed; } .cut { fill: #f3f5f6; } .link { fill: none; stroke: #7a4fa3; }
.link { stroke-dasharray: 4 3; } .stripe { fill: #f7f9fa; }
"""


class Jaeger:
    """The HTTP API of a Jaeger."""

    def __init__(self, address: str) -> None:
        self._address = address.rstrip("/")

    def trace(self, trace_id: str) -> Trace:
        """One trace. Raises SystemExit where there is none."""
        try:
            with urllib.request.urlopen(f"{self._address}/api/traces/{trace_id}", timeout=30) as answer:  # noqa: S310
                found = json.load(answer)["data"]
        except OSError as error:
            raise SystemExit(f"{self._address} has no trace {trace_id}, or does not answer: {error}") from error
        if not found:
            raise SystemExit(f"{self._address} has no trace {trace_id}")
        return parse(found[0])


def linked(trace: Trace, jaeger: Jaeger) -> list[tuple[str, Trace]]:
    """The traces that spans of this one link to, with what to call them."""
    others = {link.trace: span for span in trace.spans for link in span.links if link.trace != trace.id}
    return [(_relation(span), jaeger.trace(trace_id)) for trace_id, span in others.items()]


def _relation(span: Span) -> str:
    if span.tags.get("activity_indexer.replay.id"):
        return "The replay that sent it again"
    audit = str(span.tags.get("messaging.consumer.group.name", "")).endswith(".audit")
    return f"{'The audit' if audit else 'The batch'} of the event that was {span.outcome}"


def page(parts: Sequence[tuple[str, Trace]]) -> tuple[str, int]:
    """The page and its height in pixels."""
    sections, height = [], 20
    for title, trace in parts:
        drawn, tall = waterfall(trace)
        sections.append(f"<section><h2>{escape(title)}</h2><p>{escape(_about(trace))}</p>{drawn}</section>")
        height += HEAD + tall
    return f'<!doctype html><meta charset="utf-8"><style>{STYLE}</style>{"".join(sections)}', height


def _about(trace: Trace) -> str:
    spans = trace.spans
    seconds = max(span.end for span in spans) - min(span.start for span in spans)
    services = ", ".join(dict.fromkeys(span.service for span in spans))
    return f"trace {trace.id} · {len(spans)} spans of {services} · {said(seconds, 's')}"


def main(arguments: Sequence[str]) -> int:
    """Draw it; returns the exit code."""
    parser = argparse.ArgumentParser(description="Draw a trace that a Jaeger has.")
    parser.add_argument("trace_id", metavar="TRACE_ID")
    parser.add_argument("--jaeger", default="http://localhost:16686", metavar="URL")
    parser.add_argument("--linked", action="store_true", help="also the traces that it links to")
    parser.add_argument("-o", "--output", type=Path, required=True, help="a page (.html) or a picture (.png)")
    options = parser.parse_args(arguments)
    jaeger = Jaeger(options.jaeger)
    trace = jaeger.trace(options.trace_id)
    html, height = page([("One event's life", trace), *(linked(trace, jaeger) if options.linked else ())])
    if options.output.suffix == ".html":
        options.output.write_text(html, encoding="utf-8")
        return 0
    with tempfile.TemporaryDirectory() as folder:
        written = Path(folder) / "trace.html"
        written.write_text(html, encoding="utf-8")
        photograph(written, options.output, WIDTH + 32, height)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
