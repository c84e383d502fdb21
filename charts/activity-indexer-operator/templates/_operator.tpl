{{- /* Variables of the operator; numbers go through JSON, which writes no exponents. */}}
{{- define "activity-indexer-operator.env" -}}
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
startupProbe:
  httpGet:
    path: /healthz
    port: http
  periodSeconds: 2
  timeoutSeconds: 2
  failureThreshold: 60
readinessProbe:
  httpGet:
    path: /healthz
    port: http
  periodSeconds: 10
  timeoutSeconds: 5
livenessProbe:
  httpGet:
    path: /healthz
    port: http
  periodSeconds: 15
  timeoutSeconds: 5
{{- end }}

{{- define "activity-indexer-operator.metricsPort" -}}
{{- include "activity-indexer-operator.httpPort" . }}
{{- end }}

{{- define "activity-indexer-operator.metricsPortName" -}}
http
{{- end }}
