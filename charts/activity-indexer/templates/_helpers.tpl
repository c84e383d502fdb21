{{- define "activity-indexer.name" -}}
{{- default "activity-indexer" .Values.nameOverride | trunc 40 | trimSuffix "-" }}
{{- end }}

{{- define "activity-indexer.fullname" -}}
{{- $name := include "activity-indexer.name" . -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 40 | trimSuffix "-" }}
{{- else if contains $name .Release.Name }}
{{- .Release.Name | trunc 40 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 40 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "activity-indexer.selectorLabels" -}}
app.kubernetes.io/name: {{ include "activity-indexer.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end }}

{{- define "activity-indexer.indexerLabels" -}}
{{ include "activity-indexer.selectorLabels" . }}
app.kubernetes.io/component: indexer
{{- end }}

{{- define "activity-indexer.metadataLabels" -}}
app.kubernetes.io/part-of: activity-indexer
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* Labels of an object that belongs to the indexer's pods. */}}
{{- define "activity-indexer.labels" -}}
{{ include "activity-indexer.indexerLabels" . }}
{{ include "activity-indexer.metadataLabels" . }}
{{- end }}

{{- /* Reference of an image: dict image, root. */}}
{{- define "activity-indexer.image" -}}
{{- $image := .image -}}
{{- with $image.registry }}{{ . }}/{{ end -}}
{{- $image.repository }}:{{ default .root.Chart.AppVersion $image.tag -}}
{{- with $image.digest }}@{{ . }}{{ end -}}
{{- end }}

{{- define "activity-indexer.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "activity-indexer.fullname" .) .Values.serviceAccount.name }}
{{- else -}}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- /* Settings as strings. Numbers go through JSON, which writes 5242880 and not 5.24288e+06. */}}
{{- define "activity-indexer.settings" -}}
{{- range $name, $value := . }}
{{- if not (kindIs "invalid" $value) }}
{{ $name }}: {{ ternary $value (toJson $value) (kindIs "string" $value) | quote }}
{{- end }}
{{- end }}
{{- end }}

{{- /* `config` without what comes from Secrets, as JSON. */}}
{{- define "activity-indexer.config" -}}
{{- $config := dict -}}
{{- range $variable, $value := .Values.config -}}
{{- if not (or (kindIs "invalid" $value) (hasKey $.Values.secrets $variable) (hasKey $.Values.secretFiles $variable)) -}}
{{- $_ := set $config $variable $value -}}
{{- end -}}
{{- end -}}
{{- toJson $config }}
{{- end }}

{{- /* What comes from Secrets: dict secrets, secretFiles. */}}
{{- define "activity-indexer.secretEnv" -}}
{{- range $variable, $from := .secrets }}
- name: {{ $variable }}
  valueFrom:
    secretKeyRef:
      name: {{ $from.name }}
      key: {{ $from.key }}
{{- end }}
{{- range $variable, $from := .secretFiles }}
- name: {{ $variable }}
  value: /etc/activity-indexer/secrets/{{ $variable }}
{{- end }}
{{- end }}

{{- define "activity-indexer.secretVolume" -}}
- name: secrets
  projected:
    sources:
      {{- range $variable, $from := . }}
      - secret:
          name: {{ $from.name }}
          items:
            - key: {{ $from.key }}
              path: {{ $variable }}
      {{- end }}
{{- end }}

{{- define "activity-indexer.shutdownTimeout" -}}
{{- dig "CONSUMER_SHUTDOWN_TIMEOUT" 20 .Values.config }}
{{- end }}

{{- /* Seconds from SIGTERM to SIGKILL: what is under way may finish, and connections may close. */}}
{{- define "activity-indexer.gracePeriod" -}}
{{- if kindIs "invalid" .Values.terminationGracePeriodSeconds -}}
{{- add (ceil (include "activity-indexer.shutdownTimeout" . | float64)) 15 }}
{{- else -}}
{{- int64 .Values.terminationGracePeriodSeconds }}
{{- end }}
{{- end }}

{{- /* Bytes for what grows with the size of events, and beside it 256 MiB for the process itself (docs/scaling.md). */}}
{{- define "activity-indexer.memoryBudget" -}}
{{- dig "CONSUMER_MEMORY_BUDGET" 0 .Values.config | default 268435456 | int64 }}
{{- end }}

{{- define "activity-indexer.memoryNeeded" -}}
{{- add (include "activity-indexer.memoryBudget" . | int64) 268435456 }}
{{- end }}

{{- /* `resources` of the indexer, as JSON; the limit of memory follows from the budget. */}}
{{- define "activity-indexer.resources" -}}
{{- $resources := deepCopy .Values.resources -}}
{{- $limits := $resources.limits | default dict -}}
{{- if not $limits.memory -}}
{{- $_ := set $limits "memory" (printf "%dMi" (divf (include "activity-indexer.memoryNeeded" . | float64) 1048576 | ceil | int64)) -}}
{{- end -}}
{{- toJson (set $resources "limits" $limits) }}
{{- end }}

{{- /* Bytes of a quantity such as 512Mi or 1G; 0: not understood. */}}
{{- define "activity-indexer.bytes" -}}
{{- $text := toString . -}}
{{- $number := regexFind "^[0-9]+" $text -}}
{{- $unit := trimPrefix $number $text -}}
{{- $factors := dict "" 1 "k" 1000 "M" 1000000 "G" 1000000000 "Ki" 1024 "Mi" 1048576 "Gi" 1073741824 -}}
{{- if and $number (hasKey $factors $unit) -}}{{- mul (int64 $number) (get $factors $unit) -}}{{- else -}}0{{- end -}}
{{- end }}

{{- define "activity-indexer.httpPort" -}}
{{- int64 (dig "CONSUMER_HTTP_PORT" 8080 .Values.config) }}
{{- end }}

{{- define "activity-indexer.topologySpread" -}}
{{- $labels := include "activity-indexer.podLabels" . | fromYaml -}}
{{- $spread := list -}}
{{- range .Values.topologySpreadConstraints -}}
{{- $spread = append $spread (merge (dict) . (dict "labelSelector" (dict "matchLabels" $labels))) -}}
{{- end -}}
{{- toYaml $spread }}
{{- end }}

{{- /* What the schema cannot say. */}}
{{- define "activity-indexer.validate" -}}
{{- range $variable, $value := .Values.config }}
{{- if and (kindIs "string" $value) (regexMatch "://[^/@]*:[^/@]+@" $value) }}
{{- fail (printf "config.%s holds a password, and ConfigMaps are no place for it: put the whole value into a Secret and name it, secrets.%s: {name: …, key: …}" $variable $variable) }}
{{- end }}
{{- end }}
{{- $shutdown := include "activity-indexer.shutdownTimeout" . | float64 }}
{{- $rebalance := dig "KAFKA_REBALANCE_TIMEOUT" 60 .Values.config | float64 }}
{{- if le $rebalance $shutdown }}
{{- fail (printf "config.KAFKA_REBALANCE_TIMEOUT (%g s) must be above config.CONSUMER_SHUTDOWN_TIMEOUT (%g s): raise it" $rebalance $shutdown) }}
{{- end }}
{{- $session := dig "KAFKA_SESSION_TIMEOUT" 9 .Values.config | default 9 | float64 }}
{{- $heartbeat := dig "KAFKA_HEARTBEAT_INTERVAL" 1 .Values.config | default 1 | float64 }}
{{- if gt (mulf $heartbeat 3) $session }}
{{- fail (printf "config.KAFKA_HEARTBEAT_INTERVAL (%g s) must be at most a third of config.KAFKA_SESSION_TIMEOUT (%g s): lower it" $heartbeat $session) }}
{{- end }}
{{- if gt $session $rebalance }}
{{- fail (printf "config.KAFKA_SESSION_TIMEOUT (%g s) must be at most config.KAFKA_REBALANCE_TIMEOUT (%g s): lower it" $session $rebalance) }}
{{- end }}
{{- $topic := dig "KAFKA_TRANSACTIONS_TOPIC" "" .Values.config | default "transactions" }}
{{- $deadLetters := dig "KAFKA_DEAD_LETTER_TOPIC" "" .Values.config | default (printf "%s.dlq" $topic) }}
{{- $parked := dig "KAFKA_PARKED_TOPIC" "" .Values.config | default (printf "%s.parked" $deadLetters) }}
{{- if or (eq $topic $deadLetters) (eq $topic $parked) (eq $deadLetters $parked) }}
{{- fail (printf "config.KAFKA_TRANSACTIONS_TOPIC, config.KAFKA_DEAD_LETTER_TOPIC and config.KAFKA_PARKED_TOPIC must be three different topics, or dead letters are read again as events: got %s, %s, %s" $topic $deadLetters $parked) }}
{{- end }}
{{- $budget := include "activity-indexer.memoryBudget" . | int64 }}
{{- $record := dig "KAFKA_MAX_RECORD_BYTES" 0 .Values.config | default 16777216 | int64 }}
{{- if lt $budget (mul 16 $record) }}
{{- fail (printf "config.CONSUMER_MEMORY_BUDGET (%d) must be at least 16 times config.KAFKA_MAX_RECORD_BYTES (%d): raise it, or lower that" $budget $record) }}
{{- end }}
{{- $needed := include "activity-indexer.memoryNeeded" . | int64 }}
{{- $limit := include "activity-indexer.bytes" (dig "limits" "memory" "" .Values.resources) | int64 }}
{{- if and $limit (lt $limit $needed) (not (hasKey .Values.secrets "CONSUMER_MEMORY_BUDGET")) }}
{{- fail (printf "resources.limits.memory (%v) must be at least config.CONSUMER_MEMORY_BUDGET (%d) and 256Mi: leave it empty, or lower the budget, and config.KAFKA_MAX_RECORD_BYTES to a sixteenth of it" .Values.resources.limits.memory $budget) }}
{{- end }}
{{- if le (include "activity-indexer.gracePeriod" . | float64) $shutdown }}
{{- fail (printf "terminationGracePeriodSeconds (%v) must be above config.CONSUMER_SHUTDOWN_TIMEOUT (%g s): raise it, or leave it empty" .Values.terminationGracePeriodSeconds $shutdown) }}
{{- end }}
{{- if and (eq .Values.mode "resource") (not .Values.activityIndexer.enabled) }}
{{- fail "mode: resource needs activityIndexer.enabled: true, as nothing else would run the indexer" }}
{{- end }}
{{- end }}

{{- /* The Deployment that runs the pods; with mode: resource the operator names it after the ActivityIndexer. */}}
{{- define "activity-indexer.workload" -}}
{{- include "activity-indexer.fullname" . }}
{{- end }}

{{- /* Labels that find the pods, made by the operator or the chart. */}}
{{- define "activity-indexer.podLabels" -}}
{{- if eq .Values.mode "deployment" -}}
{{ include "activity-indexer.indexerLabels" . }}
{{- else -}}
app.kubernetes.io/name: activity-indexer
app.kubernetes.io/instance: {{ include "activity-indexer.fullname" . }}
app.kubernetes.io/component: indexer
{{- end }}
{{- end }}
