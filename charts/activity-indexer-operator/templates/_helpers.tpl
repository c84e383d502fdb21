{{- define "activity-indexer-operator.name" -}}
{{- default "activity-indexer-operator" .Values.nameOverride | trunc 50 | trimSuffix "-" }}
{{- end }}

{{- define "activity-indexer-operator.fullname" -}}
{{- $name := include "activity-indexer-operator.name" . -}}
{{- if .Values.fullnameOverride }}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" }}
{{- else if contains $name .Release.Name }}
{{- .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else if contains "activity-indexer" .Release.Name }}
{{- printf "%s-operator" .Release.Name | trunc 50 | trimSuffix "-" }}
{{- else }}
{{- printf "%s-%s" .Release.Name $name | trunc 50 | trimSuffix "-" }}
{{- end }}
{{- end }}

{{- define "activity-indexer-operator.selectorLabels" -}}
app.kubernetes.io/name: {{ include "activity-indexer-operator.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
app.kubernetes.io/component: operator
{{- end }}

{{- define "activity-indexer-operator.labels" -}}
{{ include "activity-indexer-operator.selectorLabels" . }}
app.kubernetes.io/part-of: activity-indexer
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: activity-indexer-operator-{{ .Chart.Version }}
{{- with .Values.commonLabels }}
{{ toYaml . }}
{{- end }}
{{- end }}

{{- /* Reference of an image: dict image, root. */}}
{{- define "activity-indexer-operator.image" -}}
{{- with .image.registry }}{{ . }}/{{ end -}}
{{- .image.repository }}:{{ default .root.Chart.AppVersion .image.tag -}}
{{- with .image.digest }}@{{ . }}{{ end -}}
{{- end }}

{{- define "activity-indexer-operator.serviceAccountName" -}}
{{- if .Values.serviceAccount.create -}}
{{- default (include "activity-indexer-operator.fullname" .) .Values.serviceAccount.name }}
{{- else -}}
{{- default "default" .Values.serviceAccount.name }}
{{- end }}
{{- end }}

{{- /* Where it looks, as {namespaces: […]}. */}}
{{- define "activity-indexer-operator.namespaces" -}}
{{- toJson (dict "namespaces" (default (list .Release.Namespace) .Values.watch.namespaces | uniq | sortAlpha)) }}
{{- end }}

{{- /* What the operator may do, from the one file that says it, as {work: […], lead: […]}: the rules of its Roles,
those about Leases apart, as the Lease is in the operator's own namespace. */}}
{{- define "activity-indexer-operator.rules" -}}
{{- $work := list -}}
{{- $lead := list -}}
{{- range regexSplit "(?m)^---\\s*$" (.Files.Get "files/rbac.yaml") -1 -}}
{{- $document := fromYaml . -}}
{{- if eq (get $document "kind") "Role" -}}
{{- range $document.rules -}}
{{- if has "leases" .resources -}}
{{- $lead = append $lead (ternary (merge (dict "resourceNames" (list (include "activity-indexer-operator.fullname" $))) .) . (hasKey . "resourceNames")) -}}
{{- else -}}{{- $work = append $work . -}}{{- end -}}
{{- end -}}
{{- end -}}
{{- end -}}
{{- toJson (dict "work" $work "lead" $lead) }}
{{- end }}

{{- define "activity-indexer-operator.topologySpread" -}}
{{- $labels := include "activity-indexer-operator.selectorLabels" . | fromYaml -}}
{{- $spread := list -}}
{{- range .Values.topologySpreadConstraints -}}
{{- $spread = append $spread (merge (dict) . (dict "labelSelector" (dict "matchLabels" $labels))) -}}
{{- end -}}
{{- toYaml $spread }}
{{- end }}

{{- define "activity-indexer-operator.validate" -}}
{{- if and .Values.watch.clusterWide .Values.watch.namespaces }}
{{- fail "watch.clusterWide looks after all namespaces: leave watch.namespaces empty, or clusterWide false" }}
{{- end }}
{{- range list "OPERATOR_NAMESPACES" "OPERATOR_NAMESPACE" "OPERATOR_IDENTITY" "OPERATOR_LEASE_NAME" "OPERATOR_INDEXER_IMAGE" }}
{{- if hasKey $.Values.settings . }}
{{- fail (printf "settings.%s is made of other values: set watch, fullnameOverride or indexerImage" .) }}
{{- end }}
{{- end }}
{{- end }}
