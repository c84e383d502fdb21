"""`activity-indexer dead-letters show`."""

from __future__ import annotations

import asyncio
import json
import logging
import sys
import time
from dataclasses import asdict, replace
from typing import Any

import click

from activity_indexer.adapters.elasticsearch.document_reader import stored_document
from activity_indexer.cli.common import failing_clearly, quiet_logging, read_settings
from activity_indexer.cli.dead_letters.page import Page, show_page
from activity_indexer.cli.dead_letters.reading import json_option, matching, parked_option, topic_of
from activity_indexer.cli.help import Exit, epilog
from activity_indexer.cli.selection import OffsetRange, selection_options
from activity_indexer.dead_letters.advice import advice
from activity_indexer.dead_letters.document_state import Outlook, is_document_id, outlook, readable_event, unknown
from activity_indexer.dead_letters.earlier import original_position
from activity_indexer.dead_letters.lines import as_json as content_json
from activity_indexer.dead_letters.lines import name_as_json, summary
from activity_indexer.dead_letters.location import locate
from activity_indexer.dead_letters.record import StoredDeadLetter
from activity_indexer.dead_letters.selection import Offsets, Selection
from activity_indexer.enrichment.registry import load_enrichments
from activity_indexer.errors import ActivityIndexerError
from activity_indexer.settings import Settings


@click.command(
    "show",
    epilog=epilog(
        "dead-letters show 0:1234",
        "dead-letters show --transaction t-17",
        codes={Exit.NOTHING_TO_DO: "there is no such dead letter"},
    ),
)
@click.argument("place", type=OffsetRange(), required=False, metavar="[PARTITION:OFFSET]")
@selection_options
@click.option("--message-id", metavar="ID", help="The event's message id, as logs have it.")
@click.option("--full", is_flag=True, help="Shorten nothing.")
@click.option("--raw", is_flag=True, help="Write the value's bytes, and nothing else.")
@parked_option
@json_option
def command(
    *,
    place: Offsets | None,
    selection: Selection,
    message_id: str | None,
    full: bool,
    raw: bool,
    parked: bool,
    as_json: bool,
) -> None:
    """Show one dead letter: why and where it failed, and whether a replay would change anything now.

    The one at PARTITION:OFFSET, or else the newest that the options mean.
    """
    settings = read_settings()
    quiet_logging(settings)
    topic = topic_of(settings, parked=parked)
    if place:
        selection = replace(selection, offsets=(*selection.offsets, place))
    with failing_clearly():
        letter = asyncio.run(_newest(settings, topic, selection, message_id))
    if letter is None:
        click.echo(f"No such dead letter in {topic}: it was never there, or it has expired.", err=True)
        sys.exit(Exit.NOTHING_TO_DO)
    if raw:
        click.echo(letter.value or b"", nl=False)
        return
    _show(Page(letter, locate(letter), asyncio.run(_outlook(settings, letter))), full=full, as_json=as_json)


def _show(page: Page, *, full: bool, as_json: bool) -> None:
    if as_json:
        click.echo(json.dumps(_as_json(page), ensure_ascii=False))
    else:
        show_page(page, fold=not full)


async def _newest(
    settings: Settings, topic: str, selection: Selection, message_id: str | None
) -> StoredDeadLetter | None:
    newest: StoredDeadLetter | None = None
    async for batch in matching(settings, topic, selection):
        for letter in batch:
            if message_id is not None and letter.message_id != message_id:
                continue
            if newest is None or letter.failed_at >= newest.failed_at:
                newest = letter
    return newest


async def _outlook(settings: Settings, letter: StoredDeadLetter) -> Outlook:
    logging.getLogger("elastic_transport").setLevel(logging.ERROR)  # that it is away is told on the page
    names = [name.strip() for name in settings.consumer.enrichments.split(",") if name.strip()]
    latest = int((time.time() + settings.consumer.max_clock_skew) * 1e6)
    event, error = readable_event(letter.value, latest, load_enrichments(names), original_position(letter))
    identifier = event.transaction.id if event else letter.facts.transaction_id
    if not is_document_id(identifier):
        return outlook(event, error, None, letter.stage, asked=False)
    try:
        document = await stored_document(settings.elasticsearch, identifier)
    except ActivityIndexerError as away:
        return unknown(event, error, str(away))
    return outlook(event, error, document, letter.stage)


def _as_json(page: Page) -> dict[str, Any]:
    letter, location, state = page.letter, page.location, page.outlook
    return {
        "topic": letter.topic,
        "partition": letter.partition,
        "offset": letter.offset,
        **summary(letter),
        "advice": advice(letter.stage, letter.error),
        "location": asdict(location) if location else None,
        "document": state.as_json(),
        "key": content_json(letter.key),
        "value": content_json(letter.value),
        "headers": [[name_as_json(name), content_json(value)] for name, value in letter.headers],
    }
