{{- /* `runbook` is a heading of docs/failure-modes.md. Pods of other releases are told apart by their names. */}}
{{- define "activity-indexer.alerts" -}}
{{- $pods := printf "namespace=%q,pod=~%q" .Release.Namespace (printf "%s-.*" (include "activity-indexer.workload" .)) -}}
- alert: ActivityIndexerAbsent
  expr: absent(activity_indexer_build_info{ {{- $pods -}} })
  for: 10m
  severity: critical
  summary: No indexer of {{ .Release.Namespace }}/{{ .Release.Name }} answers to Prometheus.
  runbook: the-indexer-itself
- alert: ActivityIndexerElasticsearchDown
  expr: max(activity_indexer_dependency_up{dependency="elasticsearch",{{ $pods }}}) == 0
  for: 5m
  severity: critical
  summary: No indexer reaches Elasticsearch; events wait in Kafka, and nothing is lost.
  runbook: elasticsearch
- alert: ActivityIndexerKafkaDown
  expr: max(activity_indexer_dependency_up{dependency="kafka",{{ $pods }}}) == 0
  for: 5m
  severity: critical
  summary: No indexer reaches Kafka.
  runbook: kafka
- alert: ActivityIndexerRedisDown
  expr: max(activity_indexer_dependency_up{dependency="redis",{{ $pods }}}) == 0
  for: 15m
  severity: info
  summary: No indexer reaches Redis; repeated events cost a request each, and nothing is wrong.
  runbook: redis
- alert: ActivityIndexerPostgresDown
  expr: max(activity_indexer_dependency_up{dependency="postgres",{{ $pods }}}) == 0
  for: 15m
  severity: warning
  summary: No indexer reaches PostgreSQL; the audit stays behind, indexing goes on.
  runbook: postgresql
- alert: ActivityIndexerIntakeStopped
  expr: max by (pod) (activity_indexer_breaker_open{ {{- $pods -}} }) == 1
  for: 1m
  severity: critical
  summary: {{ `{{ $labels.pod }} stopped intake, because too large a share of events fails.` | quote }}
  runbook: elasticsearch
- alert: ActivityIndexerDeadLetters
  expr: sum by (stage, error) (increase(activity_indexer_dead_letters_total{ {{- $pods -}} }[15m])) > 0
  for: 1m
  severity: warning
  summary: {{ `{{ $value | humanize }} events were dead-lettered in 15 minutes: stage {{ $labels.stage }}, {{ $labels.error }}.` | quote }}
  runbook: events
- alert: ActivityIndexerLagHigh
  expr: sum(activity_indexer_consumer_lag_events{ {{- $pods -}} }) > {{ int64 .Values.prometheusRule.lagEvents }}
  for: 15m
  severity: warning
  summary: {{ `{{ $value | humanize }} events wait to be indexed.` | quote }}
  runbook: elasticsearch
- alert: ActivityIndexerStandsStill
  expr: |
    sum by (pod) (activity_indexer_consumer_lag_events{ {{- $pods -}} }) > 0
    and on (pod) time() - activity_indexer_last_settled_timestamp_seconds{ {{- $pods -}} } > 600
  for: 5m
  severity: critical
  summary: {{ `{{ $labels.pod }} has events to index and settled none for ten minutes.` | quote }}
  runbook: the-indexer-itself
- alert: ActivityIndexerEventsLate
  expr: |
    histogram_quantile(0.99, sum by (le) (rate(activity_indexer_event_age_seconds_bucket{ {{- $pods -}} }[5m])))
    > {{ .Values.prometheusRule.eventAgeSeconds }}
  for: 15m
  severity: warning
  summary: {{ `It takes {{ $value | humanizeDuration }} (99th percentile) until an event is indexed.` | quote }}
  runbook: elasticsearch
- alert: ActivityIndexerCommitsFail
  expr: sum by (pod) (increase(activity_indexer_offset_commits_total{outcome="failed",{{ $pods }}}[15m])) > 3
  for: 5m
  severity: warning
  summary: {{ `{{ $labels.pod }} cannot commit offsets; after a restart it would repeat work.` | quote }}
  runbook: kafka
- alert: ActivityIndexerRebalancesOften
  expr: max by (pod) (increase(activity_indexer_rebalances_total{ {{- $pods -}} }[15m])) > 10
  for: 5m
  severity: warning
  summary: {{ `The consumer group was assigned anew {{ $value | humanize }} times in 15 minutes.` | quote }}
  runbook: kafka
- alert: ActivityIndexerAuditBehind
  expr: sum(activity_indexer_audit_lag_events{ {{- $pods -}} }) > {{ int64 .Values.prometheusRule.lagEvents }}
  for: 30m
  severity: warning
  summary: {{ `{{ $value | humanize }} events wait to be written to the audit.` | quote }}
  runbook: postgresql
- alert: ActivityIndexerAuditRejects
  expr: sum by (outcome) (increase(activity_indexer_audit_events_total{outcome=~"rejected|dropped",{{ $pods }}}[15m])) > 0
  for: 1m
  severity: warning
  summary: {{ `{{ $value | humanize }} events were {{ $labels.outcome }} by the audit in 15 minutes.` | quote }}
  runbook: postgresql
{{- end }}
