{{- /* Variables of the operator; numbers go through JSON, which writes no exponents. */}}
{{- define "activity-indexer-operator.env" -}}
- name: OPERATOR_NAMESPACE
  valueFrom:
    fieldRef:
      fieldPath: metadata.namespace
- name: OPERATOR_IDENTITY
  valueFrom:
    fieldRef:
      fieldPath: metadata.name
- name: OPERATOR_POD_UID
  valueFrom:
    fieldRef:
      fieldPath: metadata.uid
- name: OPERATOR_LEASE_NAME
  value: {{ include "activity-indexer-operator.fullname" . }}
- name: OPERATOR_INDEXER_IMAGE
  value: {{ include "activity-indexer-operator.image" (dict "image" .Values.indexerImage "root" $) }}
- name: OPERATOR_NAMESPACES
  value: {{ ternary "" (join "," (include "activity-indexer-operator.namespaces" . | fromJson).namespaces) .Values.watch.clusterWide | quote }}
{{- range $variable, $value := .Values.settings }}
{{- if not (kindIs "invalid" $value) }}
- name: {{ $variable }}
  value: {{ ternary $value (toJson $value) (kindIs "string" $value) | quote }}
{{- end }}
{{- end }}
{{- end }}

{{- define "activity-indexer-operator.httpPort" -}}
{{- int64 (dig "OPERATOR_HTTP_PORT" 8080 .Values.settings) }}
{{- end }}

{{- define "activity-indexer-operator.probes" -}}
{{- range $probe, $path := dict "startup" "/livez" "readiness" "/readyz" "liveness" "/livez" }}
{{ $probe }}Probe:
  httpGet:
    path: {{ $path }}
    port: http
  {{- toYaml (index $.Values.probes $probe) | nindent 2 }}
{{- end }}
{{- end }}
