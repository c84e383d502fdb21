{{- /* `exported_namespace` is the label `namespace` of the metric: Prometheus keeps its own for the pod's. */}}
{{- define "activity-indexer-operator.alerts" -}}
{{- $pods := printf "namespace=%q,pod=~%q" .Release.Namespace (printf "%s-.*" (include "activity-indexer-operator.fullname" .)) -}}
- alert: ActivityIndexerOperatorAbsent
  expr: absent(activity_indexer_operator_leader{ {{- $pods -}} })
  for: 10m
  severity: warning
  summary: No operator of {{ .Release.Namespace }}/{{ .Release.Name }} answers to Prometheus; indexers go on as they are.
  runbook: the-operator
- alert: ActivityIndexerOperatorLeaderless
  expr: max(activity_indexer_operator_leader{ {{- $pods -}} }) == 0
  for: 5m
  severity: warning
  summary: No pod of the operator holds its Lease; indexers go on as they are.
  runbook: the-operator
- alert: ActivityIndexerOperatorCrashes
  expr: sum by (kind) (increase(activity_indexer_operator_reconcile_seconds_count{outcome="crashed",{{ $pods }}}[15m])) > 0
  for: 1m
  severity: warning
  summary: {{ `The operator stumbled over an object of the kind {{ $labels.kind }}.` | quote }}
  runbook: the-operator
- alert: ActivityIndexerNotAtItsSize
  expr: |
    activity_indexer_operator_indexer_desired_replicas{ {{- $pods -}} }
    != activity_indexer_operator_indexer_ready_replicas{ {{- $pods -}} }
  for: 15m
  severity: warning
  summary: {{ `{{ $labels.exported_namespace }}/{{ $labels.name }} is to have {{ $value }} replicas, and other ones are ready.` | quote }}
  runbook: the-operator
- alert: ActivityIndexerDeadLettersWait
  expr: activity_indexer_operator_indexer_dead_letters{ {{- $pods -}} } > 0
  for: 1d
  severity: info
  summary: {{ `{{ $value | humanize }} events wait in the dead letters of {{ $labels.exported_namespace }}/{{ $labels.name }}.` | quote }}
  runbook: the-operator
{{- end }}
