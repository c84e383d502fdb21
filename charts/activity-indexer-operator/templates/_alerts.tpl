{{- /*
What is wrong, in `summary`; what is so now, in `description`. The place of an alert in docs/runbooks.md has its name.
`exported_namespace` is the label `namespace` of the metric: Prometheus keeps its own for the pod's.
*/}}

{{- /* A number that Prometheus looks up when it writes the description. */}}
{{- define "activity-indexer-operator.failuresNow" -}}
{{- $ask := printf "max(activity_indexer_operator_indexer_schedule_failures{%s,exported_namespace='%%s',name='%%s'})" (. | replace "\"" "'") -}}
{{- printf "{{ with printf \"%s\" $labels.exported_namespace $labels.name | query }}{{ . | first | value }}{{ else }}Too many{{ end }}" $ask -}}
{{- end }}

{{- define "activity-indexer-operator.alerts" -}}
{{- $pods := printf "namespace=%q,pod=~%q" .Release.Namespace (printf "%s-.*" (include "activity-indexer-operator.fullname" .)) -}}
{{- $crashes := printf "activity_indexer_operator_reconcile_seconds_count{outcome=\"crashed\",%s}" $pods -}}
{{- $failed := printf "activity_indexer_operator_replays_finished_total{outcome=~\"Failed|Refused\",%s}" $pods -}}
- alert: ActivityIndexerOperatorAbsent
  expr: absent(activity_indexer_operator_leader{ {{- $pods -}} })
  for: 10m
  severity: warning
  summary: No operator of {{ .Release.Namespace }}/{{ .Release.Name }} answers to Prometheus.
  description: Prometheus has had no metrics of an operator for ten minutes. Indexers keep running; their replicas are not changed and no replays run.
- alert: ActivityIndexerOperatorLeaderless
  expr: max(activity_indexer_operator_leader{ {{- $pods -}} }) == 0
  for: 5m
  severity: warning
  summary: No pod of the operator holds its Lease.
  description: Its pods run, and none of them works. Indexers go on as they are.
- alert: ActivityIndexerOperatorCrashes
  {{- /* A kind has no series before its first crash, and increase() does not see a series begin. */}}
  expr: |
    sum by (kind) (({{ $crashes }} unless {{ $crashes }} offset 15m) or increase({{ $crashes }}[15m])) > 0
  for: 1m
  severity: warning
  summary: {{ `The operator stumbles over an object of the kind {{ $labels.kind }}.` | quote }}
  description: {{ `{{ $value | humanize }} passes ended in a defect in 15 minutes. Other objects are looked after; that one is tried again.` | quote }}
- alert: ActivityIndexerNotAtItsSize
  expr: |
    activity_indexer_operator_indexer_desired_replicas{ {{- $pods -}} }
    != activity_indexer_operator_indexer_ready_replicas{ {{- $pods -}} }
  for: 15m
  severity: warning
  summary: {{ `{{ $labels.exported_namespace }}/{{ $labels.name }} has not the replicas it is to have.` | quote }}
  description: {{ `It is to have {{ $value }} ready replicas, and has had more or fewer for 15 minutes.` | quote }}
- alert: ActivityIndexerReplicasLimited
  expr: |
    activity_indexer_operator_indexer_lag_events{ {{- $pods -}} } > {{ int64 .Values.prometheusRule.limitedLagEvents }}
    and activity_indexer_operator_indexer_scaling_limited{ {{- $pods -}} } == 1
  for: 15m
  severity: warning
  summary: {{ `{{ $labels.exported_namespace }}/{{ $labels.name }} needs more replicas than it may have.` | quote }}
  description: {{ `{{ $value | humanize }} events wait, and the maximum of the policy, or the number of partitions, does not allow more replicas.` | quote }}
- alert: ActivityIndexerReplayFailed
  expr: |
    sum by (exported_namespace, outcome) (({{ $failed }} unless {{ $failed }} offset 15m) or increase({{ $failed }}[15m])) > 0
  for: 1m
  severity: warning
  summary: {{ `A replay in {{ $labels.exported_namespace }} did not come to its end: {{ $labels.outcome }}.` | quote }}
  description: {{ `Replays that ended so in 15 minutes: {{ $value | humanize }}. What they had sent is sent, and nothing was sent twice.` | quote }}
- alert: ActivityIndexerReplaysStopped
  expr: max by (exported_namespace, name) (activity_indexer_operator_indexer_schedule_stopped{ {{- $pods -}} }) == 1
  for: 5m
  severity: warning
  summary: {{ `The schedule of {{ $labels.exported_namespace }}/{{ $labels.name }} has stopped making replays.` | quote }}
  description: {{ printf "%s replays of it failed in a row, which is as many as it allows." (include "activity-indexer-operator.failuresNow" $pods) | quote }}
- alert: ActivityIndexerDeadLettersWait
  expr: activity_indexer_operator_indexer_dead_letters{ {{- $pods -}} } > 0
  for: 1d
  severity: info
  summary: {{ `Dead letters of {{ $labels.exported_namespace }}/{{ $labels.name }} wait for an operator.` | quote }}
  description: {{ `{{ $value | humanize }} events have been waiting for a day or longer to be corrected and replayed.` | quote }}
{{- end }}
