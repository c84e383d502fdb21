"""Questions about what moves them: the group, the processes, the audit, the operator."""

from __future__ import annotations

from typing import Final

from dashboard_panels import Panel, Row, operator, quantile, rate

GROUP: Final = Row(
    "Is a rebalance going on?",
    (
        Panel(
            "Partitions by indexer",
            "short",
            "All partitions have an owner where the sum is the topic's.",
            {"{{pod}}": "sum by (pod) (activity_indexer_assigned_partitions{PODS})"},
            stacked=True,
        ),
        Panel(
            "Assignments",
            "suffix: /min",
            "Number of times that an indexer's partitions were assigned again.",
            {"{{pod}}": f"60 * {rate('rebalances_total{PODS}', 'pod')}"},
            ("ActivityIndexerRebalancesOften",),
        ),
        Panel(
            "A rebalance is going on",
            "bool_yes_no",
            "While partitions are given back and not yet assigned again.",
            {"{{pod}}": "max by (pod) (activity_indexer_rebalance_in_progress{PODS})"},
            ("ActivityIndexerRebalancesOften",),
        ),
    ),
)

SATURATION: Final = Row(
    "How full is it?",
    (
        Panel(
            "CPU",
            "suffix: cores",
            "An indexer uses a core at most for its loop, and little beside it.",
            {"{{pod}}": "sum by (pod) (rate(process_cpu_seconds_total{PODS}[$__rate_interval]))"},
            width=6,
        ),
        Panel(
            "Memory",
            "bytes",
            "Resident. It does not grow with the lag.",
            {"{{pod}}": "sum by (pod) (process_resident_memory_bytes{PODS})"},
            width=6,
        ),
        Panel(
            "Lateness of the event loop, p99",
            "s",
            "High where there is too little CPU, or something blocks.",
            {"{{pod}}": quantile(0.99, "event_loop_lag_seconds", "le, pod")},
            width=6,
        ),
        Panel(
            "Places for bulk requests in use",
            "percentunit",
            "At 100 % intake waits for Elasticsearch.",
            {
                "{{pod}}": "sum by (pod) (activity_indexer_in_flight_bulk_requests{PODS}) "
                "/ sum by (pod) (activity_indexer_in_flight_limit{PODS})"
            },
            width=6,
        ),
    ),
)

AUDIT: Final = Row(
    "Does the audit keep up?",
    (
        Panel(
            "Events of the audit",
            "suffix: events/s",
            "Written to PostgreSQL, no event at all, put aside, or refused even there.",
            {"{{outcome}}": rate("audit_events_total{PODS}", "outcome")},
            ("ActivityIndexerAuditRejects",),
            stacked=True,
        ),
        Panel(
            "Oldest event that the audit lacks",
            "s",
            "By indexer. Indexing does not wait for it.",
            {"{{pod}}": "max by (pod) (activity_indexer_audit_lag_seconds{PODS})"},
            ("ActivityIndexerAuditBehind",),
        ),
        Panel(
            "Time to write, p99",
            "s",
            "What one poll of the audit gave.",
            {"p99": quantile(0.99, "audit_batch_duration_seconds")},
            ("ActivityIndexerAuditBehind",),
        ),
    ),
)

OPERATOR: Final = Row(
    "What does the operator do?",
    (
        Panel(
            "Replicas and partitions",
            "short",
            "What the operator decided, and what there is.",
            {
                "{{name}} is to have": operator("indexer_desired_replicas"),
                "{{name}} has ready": operator("indexer_ready_replicas"),
                "{{name}} partitions": operator("indexer_partitions"),
            },
            ("ActivityIndexerNotAtItsSize", "ActivityIndexerReplicasLimited"),
            width=6,
        ),
        Panel(
            "Published, and what a replica can do",
            "suffix: events/s",
            "As the policy Lag measures both.",
            {
                "{{name}} published": operator("indexer_produced_events_per_second"),
                "{{name}} per replica": operator("indexer_capacity_events_per_second"),
            },
            width=6,
        ),
        Panel(
            "Changes of replicas",
            "suffix: /h",
            "Each change makes the group stop for a moment.",
            {
                "{{name}} {{direction}}": "sum by (name, direction) (3600 * "
                'rate(activity_indexer_operator_scalings_total{exported_namespace="$namespace"}[$__rate_interval]))'
            },
            width=6,
        ),
        Panel(
            "A limit keeps replicas down",
            "bool_yes_no",
            "The maximum, or the number of partitions, is below what the policy asks for.",
            {"{{name}}": operator("indexer_scaling_limited")},
            ("ActivityIndexerReplicasLimited",),
            width=6,
        ),
        Panel(
            "Dead letters that wait",
            "suffix: events",
            "In the dead-letter topic, by ActivityIndexer.",
            {"{{name}}": operator("indexer_dead_letters")},
            ("ActivityIndexerDeadLettersWait",),
            width=6,
        ),
        Panel(
            "Replays by phase",
            "short",
            "DeadLetterReplays that there are.",
            {"{{phase}}": f"{operator('replays', 'phase')} > 0"},
            ("ActivityIndexerReplayFailed",),
            stacked=True,
            width=6,
        ),
        Panel(
            "Replays that ended",
            "suffix: /h",
            "By how they ended.",
            {
                "{{outcome}}": "sum by (outcome) (3600 * "
                'rate(activity_indexer_operator_replays_finished_total{exported_namespace="$namespace"}[$__rate_interval]))'
            },
            ("ActivityIndexerReplayFailed", "ActivityIndexerReplaysStopped"),
            stacked=True,
            width=6,
        ),
        Panel(
            "Passes of the operator, p99",
            "s",
            "Time of a pass over one object; of all operators of this data source.",
            {
                "{{kind}}": "histogram_quantile(0.99, sum by (le, kind) (rate("
                "activity_indexer_operator_reconcile_seconds_bucket[$__rate_interval])))"
            },
            ("ActivityIndexerOperatorCrashes",),
            width=6,
        ),
    ),
)
