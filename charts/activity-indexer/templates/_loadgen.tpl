{{- /* A pod of the load generator: dict root, args, config, resources, deadline. */}}
{{- define "activity-indexer.loadgenPod" -}}
{{- $root := .root -}}
{{- $settings := merge (dict) (.config | default dict) (include "activity-indexer.config" $root | fromJson) -}}
{{- $secrets := dict -}}
{{- $files := dict -}}
{{- range $variable, $from := $root.Values.secrets -}}
{{- if and (regexMatch "^(KAFKA|ELASTICSEARCH)_" $variable) (not (hasKey ($.config | default dict) $variable)) -}}{{- $_ := set $secrets $variable $from -}}{{- end -}}
{{- end -}}
{{- range $variable, $from := $root.Values.secretFiles -}}
{{- if regexMatch "^(KAFKA|ELASTICSEARCH)_" $variable -}}{{- $_ := set $files $variable $from -}}{{- end -}}
{{- end -}}
restartPolicy: Never
automountServiceAccountToken: false
enableServiceLinks: false
{{- with $root.Values.imagePullSecrets }}
imagePullSecrets:
  {{- toYaml . | nindent 2 }}
{{- end }}
securityContext:
  {{- toYaml $root.Values.podSecurityContext | nindent 2 }}
containers:
  - name: loadgen
    image: {{ include "activity-indexer.image" (dict "image" $root.Values.loadgen.image "root" $root) }}
    imagePullPolicy: {{ $root.Values.loadgen.image.pullPolicy }}
    args:
      - activity-loadgen
      {{- with get $settings "KAFKA_DEAD_LETTER_TOPIC" }}
      - --dead-letter-topic={{ . }}
      {{- end }}
      {{- toYaml .args | nindent 6 }}
    {{- with $root.Values.extraEnvFrom }}
    envFrom:
      {{- toYaml . | nindent 6 }}
    {{- end }}
    env:
      {{- range $variable, $value := $settings }}
      {{- if and (regexMatch "^(KAFKA|ELASTICSEARCH)_" $variable) (not (kindIs "invalid" $value)) }}
      - name: {{ $variable }}
        value: {{ ternary $value (toJson $value) (kindIs "string" $value) | quote }}
      {{- end }}
      {{- end }}
      {{- include "activity-indexer.secretEnv" (dict "secrets" $secrets "secretFiles" $files) | trim | nindent 6 }}
      {{- with $root.Values.extraEnv }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
    resources:
      {{- toYaml $root.Values.loadgen.resources | nindent 6 }}
    securityContext:
      {{- toYaml $root.Values.securityContext | nindent 6 }}
    volumeMounts:
      - name: tmp
        mountPath: /tmp
      {{- if $files }}
      - name: secrets
        mountPath: /etc/activity-indexer/secrets
        readOnly: true
      {{- end }}
      {{- with $root.Values.extraVolumeMounts }}
      {{- toYaml . | nindent 6 }}
      {{- end }}
volumes:
  - name: tmp
    emptyDir:
      sizeLimit: 256Mi
  {{- with $files }}
  {{- include "activity-indexer.secretVolume" . | nindent 2 }}
  {{- end }}
  {{- with $root.Values.extraVolumes }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- with $root.Values.nodeSelector }}
nodeSelector:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with $root.Values.tolerations }}
tolerations:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- end }}

{{- define "activity-indexer.loadgenLabels" -}}
{{ include "activity-indexer.selectorLabels" . }}
app.kubernetes.io/component: loadgen
{{ include "activity-indexer.metadataLabels" . }}
{{- end }}
