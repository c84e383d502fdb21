"""Questions about events: how many, how fresh, who is slow, what fails."""

from __future__ import annotations

from typing import Final

from dashboard_panels import DOWN, FAILS, FRESH, LAG, Panel, Row, mean, quantile, rate

GLANCE: Final = Row(
    "",
    height=4,
    panels=(
        Panel(
            "Lag",
            "suffix: events",
            "Events that wait to be indexed.",
            {"": "sum(activity_indexer_consumer_lag_events{PODS})"},
            LAG,
            limits=(10_000, 100_000),
            width=3,
        ),
        Panel(
            "Oldest that waits",
            "s",
            "Time since the publishing of the oldest event that is not indexed yet.",
            {"": "max(activity_indexer_consumer_lag_seconds{PODS})"},
            LAG,
            limits=(60, 600),
            width=3,
        ),
        Panel(
            "Search is behind, p99",
            "s",
            "From publishing to the first search that finds the event; of the last 15 minutes.",
            {"": quantile(0.99, "freshness_seconds", window="15m")},
            FRESH,
            limits=(10, 60),
            width=3,
        ),
        Panel(
            "Found within 10 s",
            "percentunit",
            "Share of events that a search found within 10 s, of the last hour.",
            {
                "": 'sum(rate(activity_indexer_freshness_seconds_bucket{le=~"10([.]0)?",PODS}[1h])) '
                "/ sum(rate(activity_indexer_freshness_seconds_count{PODS}[1h]))"
            },
            FRESH,
            limits=(0.99, 0.95),
            width=3,
        ),
        Panel(
            "Indexed",
            "suffix: events/s",
            "Events settled, whatever became of them.",
            {"": rate("events_total{PODS}")},
            limits=(1e9, 1e10),
            width=3,
        ),
        Panel(
            "Dead-lettered",
            "suffix: events",
            "Events that could not be indexed, within the time that is shown.",
            {"": 'sum(increase(activity_indexer_events_total{outcome="dead_lettered",PODS}[$__range]))'},
            FAILS,
            limits=(1, 1000),
            width=3,
        ),
        Panel(
            "Servers away",
            "none",
            "Servers that some indexer does not reach.",
            {"": "count(min by (dependency) (activity_indexer_dependency_up{PODS}) == 0) or vector(0)"},
            DOWN,
            limits=(1, 2),
            width=3,
        ),
        Panel(
            "Intake stopped",
            "none",
            "Indexers that stopped intake, because too large a share of valid events fails or the index is not as "
            "expected, and partitions that cannot go on, because their next batch is damaged.",
            {
                "indexers": "sum(activity_indexer_breaker_open{PODS})",
                "index": "sum(1 - activity_indexer_index_as_expected{PODS})",
                "partitions": "sum(activity_indexer_corrupt_partitions{PODS})",
            },
            ("ActivityIndexerIntakeStopped", "ActivityIndexerIndexUnexpected", "ActivityIndexerPartitionCorrupt"),
            limits=(1, 1.5),
            width=3,
        ),
    ),
)

KEEPS_UP: Final = Row(
    "Does it keep up?",
    (
        Panel(
            "Taken and settled",
            "suffix: events/s",
            "Where more is taken than settled for long, something behind is slow.",
            {"taken from Kafka": rate("events_consumed_total{PODS}"), "settled": rate("events_total{PODS}")},
            LAG,
        ),
        Panel(
            "Lag by partition",
            "suffix: events",
            "Events that wait. One partition far above the others is one busy user.",
            {"partition {{partition}}": "sum by (partition) (activity_indexer_consumer_lag_events{PODS})"},
            LAG,
        ),
        Panel(
            "Oldest event that waits",
            "s",
            "By indexer. It grows by a second a second while nothing is settled.",
            {"{{pod}}": "max by (pod) (activity_indexer_consumer_lag_seconds{PODS})"},
            (*LAG, "ActivityIndexerStandsStill"),
        ),
    ),
)

FRESHNESS: Final = Row(
    "How fresh is search?",
    (
        Panel(
            "From publishing to searchable",
            "s",
            "Measured: single events are followed until a search finds them.",
            {"p50": quantile(0.5, "freshness_seconds"), "p99": quantile(0.99, "freshness_seconds")},
            FRESH,
        ),
        Panel(
            "From publishing to written",
            "s",
            "Every event, up to Elasticsearch's acknowledgement; the refresh comes later.",
            {"p50": quantile(0.5, "event_age_seconds"), "p99": quantile(0.99, "event_age_seconds")},
            ("ActivityIndexerEventsLate",),
        ),
        Panel(
            "Events followed",
            "suffix: /min",
            "Found, not found within a minute, or not to be searched for.",
            {"{{outcome}}": f"60 * {rate('freshness_probes_total{PODS}', 'outcome')}"},
            ("ActivityIndexerNothingFound",),
            stacked=True,
        ),
    ),
)

WAITS: Final = Row(
    "What does it wait for?",
    (
        Panel(
            "Batches under way, by stage",
            "short",
            "How many batches are in a stage, on average: the largest is where time goes.",
            {"{{stage}}": rate("stage_duration_seconds_sum{PODS}", "stage")},
            LAG,
            stacked=True,
        ),
        Panel(
            "Time of a batch, p99",
            "s",
            "From its start to its settlement, and what lies before: the wait for more events, for a place.",
            {
                "whole batch": quantile(0.99, "batch_duration_seconds"),
                "waits for more events": quantile(0.99, "batch_wait_seconds"),
                "waits for a place": quantile(0.99, "bulk_wait_seconds"),
            },
            LAG,
        ),
        Panel(
            "Events in a request",
            "suffix: events",
            "Few events in a request cost more for each; under load requests become larger by themselves.",
            {"mean": f"{rate('batch_events_sum{PODS}')} / {rate('batch_events_count{PODS}')}"},
        ),
    ),
)

SLOW: Final = Row(
    "Who is slow?",
    (
        Panel(
            "Time of a call, mean",
            "s",
            "Calls to each server, failed ones too.",
            {"{{dependency}} {{operation}}": mean("dependency_call_duration_seconds", "dependency, operation")},
            DOWN,
        ),
        Panel(
            "Time of a bulk request, p99",
            "s",
            "Elasticsearch's own time, and all of it: between both is the network.",
            {
                "whole request": quantile(0.99, "bulk_duration_seconds"),
                "Elasticsearch's own": quantile(0.99, "bulk_took_seconds"),
            },
            LAG,
        ),
        Panel(
            "Bulk requests under way",
            "short",
            "The limit follows Elasticsearch's push-back: halved, then one more at a time.",
            {
                "{{pod}}": "sum by (pod) (activity_indexer_in_flight_bulk_requests{PODS})",
                "{{pod}} limit": "sum by (pod) (activity_indexer_in_flight_limit{PODS})",
            },
        ),
    ),
)

CALLS_FAILED: Final = rate("dependency_call_failures_total{PODS}", "dependency, operation")

FAILURES: Final = Row(
    "What fails, and why?",
    (
        Panel(
            "Dead letters by cause",
            "suffix: /min",
            "Events that cannot be indexed, by stage and error.",
            {"{{stage}} {{error}}": f"60 * {rate('dead_letters_total{PODS}', 'stage, error')}"},
            FAILS,
            stacked=True,
            width=6,
        ),
        Panel(
            "What became of events",
            "suffix: events/s",
            "Duplicates and late events are known already, or older than what is there.",
            {"{{outcome}}": rate("events_total{PODS}", "outcome")},
            stacked=True,
            width=6,
        ),
        Panel(
            "Calls that failed",
            "suffix: /min",
            "By server and operation. What fails for a while is tried again.",
            {"{{dependency}} {{operation}}": f"60 * {CALLS_FAILED}"},
            DOWN,
            width=6,
        ),
        Panel(
            "Servers that answer",
            "bool_yes_no",
            "As the indexer that sees least of it sees it.",
            {"{{dependency}}": "min by (dependency) (activity_indexer_dependency_up{PODS})"},
            DOWN,
            width=6,
        ),
        Panel(
            "Bulk requests by outcome",
            "suffix: /s",
            "Partial: some items were refused or known; retry, split, suspect: sent again.",
            {"{{outcome}}": rate("bulk_requests_total{PODS}", "outcome")},
            stacked=True,
            width=6,
        ),
        Panel(
            "Sent again, by reason",
            "suffix: events/s",
            "Documents of requests that were pushed back or got no answer; alone: how many are sent by themselves now.",
            {
                "{{reason}}": rate("retries_total{PODS}", "reason"),
                "alone": "sum(activity_indexer_documents_sent_alone{PODS})",
            },
            ("ActivityIndexerDocumentsSentAlone",),
            stacked=True,
            width=6,
        ),
        Panel(
            "Commits that failed",
            "suffix: /min",
            "A failed commit costs repeated work after a restart, and nothing else.",
            {"{{pod}}": f"""60 * {rate('offset_commits_total{outcome="failed",PODS}', "pod")}"""},
            ("ActivityIndexerCommitsFail",),
            width=6,
        ),
        Panel(
            "Known already",
            "suffix: events/s",
            "Events that memory or Redis knew as seen.",
            {"{{level}}": rate("dedup_hits_total{PODS}", "level")},
            stacked=True,
            width=6,
        ),
    ),
)
