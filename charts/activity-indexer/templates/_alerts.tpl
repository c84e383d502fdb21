{{- /*
What is wrong, in `summary`; what is so now, in `description`. The place of an alert in docs/runbooks.md has its name.
Pods of other releases are recognized by their names.
*/}}

{{- define "activity-indexer.alertPods" -}}
{{- printf "namespace=%q,pod=~%q" .Release.Namespace (printf "%s-.*" (include "activity-indexer.workload" .)) -}}
{{- end }}

{{- /* Share of events that a search found too late. Prometheus 3 and collectors write 10 or 10.0 for the same bucket. */}}
{{- define "activity-indexer.tooLate" -}}
{{- $objective := .root.Values.prometheusRule.freshness -}}
{{- $pods := include "activity-indexer.alertPods" .root -}}
{{- $within := printf "le=~\"%s([.]0)?\"" (toString $objective.seconds | replace "." "[.]") -}}
(1 - sum(rate(activity_indexer_freshness_seconds_bucket{ {{- $within }},{{ $pods -}} }[{{ .window }}]))
/ sum(rate(activity_indexer_freshness_seconds_count{ {{- $pods -}} }[{{ .window }}]))
> {{ .burn }} * (1 - {{ $objective.objective }}))
{{- end }}

{{- define "activity-indexer.burns" -}}
{{- include "activity-indexer.tooLate" (dict "root" .root "burn" .burn "window" .long) }}
and {{ include "activity-indexer.tooLate" (dict "root" .root "burn" .burn "window" .short) }}
{{- end }}

{{- /* A number that Prometheus looks up when it writes the description. */}}
{{- define "activity-indexer.now" -}}
{{- printf "{{ with query %s%s%s }}{{ . | first | value | %s }}{{ else }}%s{{ end }}" "`" .ask "`" .as .else -}}
{{- end }}

{{- define "activity-indexer.alerts" -}}
{{- include "activity-indexer.alertsOfServers" . }}
{{ include "activity-indexer.alertsOfProgress" . }}
{{ include "activity-indexer.alertsOfFreshness" . }}
{{ include "activity-indexer.alertsOfEvents" . }}
{{ include "activity-indexer.alertsOfAudit" . }}
{{- end }}

{{- define "activity-indexer.alertsOfServers" -}}
{{- $pods := include "activity-indexer.alertPods" . -}}
- alert: ActivityIndexerAbsent
  expr: absent(activity_indexer_build_info{ {{- $pods -}} })
  for: 10m
  severity: critical
  summary: No indexer of {{ .Release.Namespace }}/{{ .Release.Name }} answers to Prometheus.
  description: Prometheus has had no metrics of an indexer for ten minutes. Either none runs, and events wait in Kafka, or Prometheus does not reach them.
- alert: ActivityIndexerElasticsearchDown
  expr: max(activity_indexer_dependency_up{dependency="elasticsearch",{{ $pods }}}) == 0
  for: 5m
  severity: critical
  summary: No indexer reaches Elasticsearch.
  description: {{ printf "Events wait in Kafka, and nothing is lost: %s events wait now." (include "activity-indexer.now" (dict "ask" (printf "sum(activity_indexer_consumer_lag_events{%s})" $pods) "as" "humanize" "else" "an unknown number of")) | quote }}
- alert: ActivityIndexerKafkaDown
  expr: max(activity_indexer_dependency_up{dependency="kafka",{{ $pods }}}) == 0
  for: 5m
  severity: critical
  summary: No indexer reaches Kafka.
  description: Nothing is read, settled or committed. Indexers go on by themselves when it answers.
- alert: ActivityIndexerRedisDown
  expr: max(activity_indexer_dependency_up{dependency="redis",{{ $pods }}}) == 0
  for: 15m
  severity: info
  summary: No indexer reaches Redis.
  description: Indexing is right and goes on; an event that is repeated costs a request to Elasticsearch.
- alert: ActivityIndexerPostgresDown
  expr: max(activity_indexer_dependency_up{dependency="postgres",{{ $pods }}}) == 0
  for: 15m
  severity: warning
  summary: No indexer reaches PostgreSQL.
  description: {{ printf "Indexing goes on. The audit stays at its offset and catches up later: it is %s behind." (include "activity-indexer.now" (dict "ask" (printf "max(activity_indexer_audit_lag_seconds{%s})" $pods) "as" "humanizeDuration" "else" "an unknown time")) | quote }}
- alert: ActivityIndexerCommitsFail
  expr: sum by (pod) (increase(activity_indexer_offset_commits_total{outcome="failed",{{ $pods }}}[15m])) > 3
  for: 5m
  severity: warning
  summary: {{ `{{ $labels.pod }} cannot commit offsets.` | quote }}
  description: {{ `{{ $value | humanize }} commits failed in 15 minutes. After a restart it would repeat that work; nothing is lost or written twice.` | quote }}
- alert: ActivityIndexerDocumentsSentAlone
  expr: max by (pod) (activity_indexer_documents_sent_alone{ {{- $pods -}} }) > 0
  for: 10m
  severity: warning
  summary: {{ `{{ $labels.pod }} has documents that are refused again and again while others pass.` | quote }}
  description: {{ `{{ $value | humanize }} documents are sent by themselves and get no verdict of Elasticsearch: they are too large for it now, or a gateway refuses them. Offsets of their partitions wait for them; /readyz shows what is answered.` | quote }}
- alert: ActivityIndexerRebalancesOften
  expr: max by (pod) (increase(activity_indexer_rebalances_total{ {{- $pods -}} }[15m])) > 10
  for: 5m
  severity: warning
  summary: The consumer group rebalances all the time.
  description: {{ `{{ $labels.pod }} was assigned partitions {{ $value | humanize }} times in 15 minutes. Each time the whole group stops for a moment.` | quote }}
{{- end }}

{{- define "activity-indexer.alertsOfProgress" -}}
{{- $pods := include "activity-indexer.alertPods" . -}}
{{- $rule := .Values.prometheusRule -}}
- alert: ActivityIndexerIntakeStopped
  expr: max by (pod) (activity_indexer_breaker_open{ {{- $pods -}} }) == 1
  for: 1m
  severity: critical
  summary: {{ `{{ $labels.pod }} stopped intake.` | quote }}
  description: Elasticsearch or an enrichment refuses too large a share of valid events. They are held and tried again, and one batch at a time goes on to the dead letters; the log and /readyz show an example.
- alert: ActivityIndexerIndexUnexpected
  expr: min by (pod) (activity_indexer_index_as_expected{ {{- $pods -}} }) == 0
  for: 1m
  severity: critical
  summary: {{ `{{ $labels.pod }} writes nothing, as the index is not as expected.` | quote }}
  description: The alias, or the index behind it, is not as an indexer makes it (a rollover, a second index, another filter or mapping). Nothing is dead-lettered; /readyz names the difference and the request that corrects it.
- alert: ActivityIndexerPartitionCorrupt
  expr: max by (pod) (activity_indexer_corrupt_partitions{ {{- $pods -}} }) > 0
  for: 1m
  severity: critical
  summary: {{ `{{ $labels.pod }} cannot read {{ $value | humanize }} of its partitions.` | quote }}
  description: The next batch there is damaged on the broker's disk or on the way. It is fetched again every 5 seconds, and other partitions go on; /readyz names partition and offset.
- alert: ActivityIndexerStandsStill
  expr: |
    time() - max by (pod) (activity_indexer_last_settled_timestamp_seconds{ {{- $pods -}} }) > 600
    and on (pod) sum by (pod) (activity_indexer_consumer_lag_events{ {{- $pods -}} }) > 0
  for: 5m
  severity: critical
  summary: {{ `{{ $labels.pod }} has events to index and settles none.` | quote }}
  description: {{ `The last event was settled {{ $value | humanizeDuration }} ago, while others wait.` | quote }}
- alert: ActivityIndexerTransactionOpen
  expr: max by (partition) (activity_indexer_held_seconds{ {{- $pods -}} }) > 300
  for: 1m
  severity: warning
  summary: {{ `A producer's transaction hides events of partition {{ $labels.partition }}.` | quote }}
  description: {{ printf "It has been open for {{ $value | humanizeDuration }}; %s events of all partitions wait behind open transactions." (include "activity-indexer.now" (dict "ask" (printf "sum(activity_indexer_held_events{%s})" $pods) "as" "humanize" "else" "an unknown number of")) | quote }}
- alert: ActivityIndexerLagGrowing
  expr: |
    deriv(sum(activity_indexer_consumer_lag_events{ {{- $pods -}} })[20m:1m]) > 0
    and sum(activity_indexer_consumer_lag_events{ {{- $pods -}} }) > {{ int64 $rule.lagGrowingEvents }}
  for: 15m
  severity: warning
  summary: More is published than indexed, for half an hour.
  description: {{ printf "The lag grows by {{ $value | humanize }} events/s; %s events wait." (include "activity-indexer.now" (dict "ask" (printf "sum(activity_indexer_consumer_lag_events{%s})" $pods) "as" "humanize" "else" "an unknown number of")) | quote }}
- alert: ActivityIndexerLagHigh
  expr: sum(activity_indexer_consumer_lag_events{ {{- $pods -}} }) > {{ int64 $rule.lagEvents }}
  for: 15m
  severity: warning
  summary: Many events wait to be indexed.
  description: {{ printf "{{ $value | humanize }} events wait, more than %d." (int64 $rule.lagEvents) | quote }}
- alert: ActivityIndexerLagOld
  expr: max(activity_indexer_consumer_lag_seconds{ {{- $pods -}} }) > {{ int64 $rule.lagSeconds }}
  for: 15m
  severity: warning
  summary: Events wait long to be indexed.
  description: {{ printf "The oldest event that waits was published {{ $value | humanizeDuration }} ago; it should be at most %d s." (int64 $rule.lagSeconds) | quote }}
{{- end }}

{{- define "activity-indexer.alertsOfFreshness" -}}
{{- $pods := include "activity-indexer.alertPods" . -}}
{{- $rule := .Values.prometheusRule -}}
{{- $objective := printf "%v %% of events are to be found by a search within %v s of their publishing" (mulf 100 $rule.freshness.objective) $rule.freshness.seconds -}}
- alert: ActivityIndexerFreshnessBurnsFast
  expr: |
    ({{ include "activity-indexer.burns" (dict "root" . "burn" 14.4 "long" "1h" "short" "5m") | nindent 4 | trim }})
    or ({{ include "activity-indexer.burns" (dict "root" . "burn" 6 "long" "6h" "short" "30m") | nindent 4 | trim }})
  for: 2m
  severity: critical
  summary: Search is behind; the month's allowance for that is gone in days.
  description: {{ printf "{{ $value | humanizePercentage }} of events came late, in the last hour or six. The objective: %s." $objective | quote }}
- alert: ActivityIndexerFreshnessBurnsSlowly
  expr: |
    {{ include "activity-indexer.burns" (dict "root" . "burn" 1 "long" "3d" "short" "6h") | nindent 4 | trim }}
  for: 30m
  severity: warning
  summary: Search is late too often for the objective to hold.
  description: {{ printf "{{ $value | humanizePercentage }} of events came late in the last three days. The objective: %s." $objective | quote }}
- alert: ActivityIndexerNothingFound
  expr: |
    sum(increase(activity_indexer_freshness_probes_total{outcome=~"missed|failed",{{ $pods }}}[15m])) > 3
    unless sum(increase(activity_indexer_freshness_probes_total{outcome="seen",{{ $pods }}}[15m])) > 0
  for: 5m
  severity: critical
  summary: What is indexed is not found by searches.
  description: {{ `{{ $value | humanize }} documents were written in 15 minutes and searched for; not one was found within a minute.` | quote }}
- alert: ActivityIndexerEventsLate
  expr: |
    histogram_quantile(0.99, sum by (le) (rate(activity_indexer_event_age_seconds_bucket{ {{- $pods -}} }[5m])))
    > {{ $rule.eventAgeSeconds }}
  for: 15m
  severity: warning
  summary: Events are indexed late.
  description: {{ printf "From publishing to indexing it takes {{ $value | humanizeDuration }} (99th percentile of 5 minutes); it should be at most %v s." $rule.eventAgeSeconds | quote }}
{{- end }}

{{- define "activity-indexer.alertsOfEvents" -}}
{{- $pods := include "activity-indexer.alertPods" . -}}
{{- /* A cause and a loss have no series before their first event, and increase() does not see a series begin. */ -}}
{{- $dead := printf "activity_indexer_dead_letters_total{%s}" $pods -}}
{{- $lost := printf "activity_indexer_events_lost_total{%s}" $pods -}}
- alert: ActivityIndexerEventsLost
  expr: |
    sum by (partition, reason, consumer) (({{ $lost }} unless {{ $lost }} offset 1h) or increase({{ $lost }}[1h])) > 0
  for: 0m
  severity: critical
  summary: {{ `Events were gone before the {{ $labels.consumer }} read them: {{ $labels.reason }}.` | quote }}
  description: {{ `{{ $value | humanize }} events of partition {{ $labels.partition }} in the last hour. They are not in Kafka any more; the log line events.lost has their offsets.` | quote }}
- alert: ActivityIndexerDeadLetters
  expr: |
    sum by (stage, error) (({{ $dead }} unless {{ $dead }} offset 15m) or increase({{ $dead }}[15m])) > 0
  for: 1m
  severity: warning
  summary: {{ `Events cannot be indexed: {{ $labels.error }} at the stage {{ $labels.stage }}.` | quote }}
  description: {{ `{{ $value | humanize }} events were moved into the dead letters in 15 minutes. Others are not held up.` | quote }}
- alert: ActivityIndexerTimestampsImplausible
  expr: sum(increase(activity_indexer_implausible_timestamps_total{ {{- $pods -}} }[15m])) > 0
  for: 15m
  severity: warning
  summary: Records carry timestamps that cannot be true.
  description: {{ `{{ $value | humanize }} events in 15 minutes have no age: lag in seconds, event age and freshness do not count them.` | quote }}
{{- end }}

{{- define "activity-indexer.alertsOfAudit" -}}
{{- $pods := include "activity-indexer.alertPods" . -}}
- alert: ActivityIndexerAuditBehind
  expr: max(activity_indexer_audit_lag_seconds{ {{- $pods -}} }) > {{ int64 .Values.prometheusRule.auditLagSeconds }}
  for: 15m
  severity: warning
  summary: The audit is behind.
  description: {{ printf "The oldest event that PostgreSQL lacks was published {{ $value | humanizeDuration }} ago; %s events wait. Indexing goes on." (include "activity-indexer.now" (dict "ask" (printf "sum(activity_indexer_audit_lag_events{%s})" $pods) "as" "humanize" "else" "an unknown number of")) | quote }}
- alert: ActivityIndexerAuditRejects
  expr: sum by (outcome) (increase(activity_indexer_audit_events_total{outcome=~"rejected|dropped",{{ $pods }}}[15m])) > 0
  for: 1m
  severity: warning
  summary: PostgreSQL refuses events.
  description: {{ `{{ $value | humanize }} events were {{ $labels.outcome }} by the audit in 15 minutes. They are indexed nevertheless.` | quote }}
{{- end }}
