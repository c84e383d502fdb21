{{- /* The indexer's pod template. */}}
{{- define "activity-indexer.pod" -}}
metadata:
  labels:
    {{- include "activity-indexer.indexerLabels" . | nindent 4 }}
    app.kubernetes.io/part-of: activity-indexer
    {{- with .Values.commonLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
    {{- with .Values.podLabels }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  annotations:
    # The settings are read at the start: other settings, other pods.
    checksum/config: {{ include "activity-indexer.config" . | sha256sum }}
    kubectl.kubernetes.io/default-container: indexer
    {{- with .Values.podAnnotations }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
spec:
  serviceAccountName: {{ include "activity-indexer.serviceAccountName" . }}
  automountServiceAccountToken: false
  # With links a Service "kafka" would put KAFKA_PORT and the like among the settings.
  enableServiceLinks: false
  terminationGracePeriodSeconds: {{ include "activity-indexer.gracePeriod" . }}
  {{- with .Values.imagePullSecrets }}
  imagePullSecrets:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.priorityClassName }}
  priorityClassName: {{ . }}
  {{- end }}
  securityContext:
    {{- toYaml .Values.podSecurityContext | nindent 4 }}
  containers:
    - {{- include "activity-indexer.container" . | nindent 6 }}
  volumes:
    - name: tmp
      emptyDir:
        sizeLimit: 64Mi
    {{- with .Values.secretFiles }}
    {{- include "activity-indexer.secretVolume" . | nindent 4 }}
    {{- end }}
    {{- with .Values.extraVolumes }}
    {{- toYaml . | nindent 4 }}
    {{- end }}
  {{- if .Values.topologySpreadConstraints }}
  topologySpreadConstraints:
    {{- include "activity-indexer.topologySpread" . | nindent 4 }}
  {{- end }}
  {{- with .Values.nodeSelector }}
  nodeSelector:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.tolerations }}
  tolerations:
    {{- toYaml . | nindent 4 }}
  {{- end }}
  {{- with .Values.affinity }}
  affinity:
    {{- toYaml . | nindent 4 }}
  {{- end }}
{{- end }}

{{- define "activity-indexer.container" -}}
name: indexer
image: {{ include "activity-indexer.image" (dict "image" .Values.image "root" $) }}
imagePullPolicy: {{ .Values.image.pullPolicy }}
{{- with .Values.command }}
command:
  {{- toYaml . | nindent 2 }}
{{- end }}
{{- with .Values.args }}
args:
  {{- toYaml . | nindent 2 }}
{{- end }}
envFrom:
  - configMapRef:
      name: {{ include "activity-indexer.fullname" . }}
  {{- with .Values.extraEnvFrom }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- $env := include "activity-indexer.secretEnv" (dict "secrets" .Values.secrets "secretFiles" .Values.secretFiles) }}
{{- if or $env .Values.extraEnv }}
env:
  {{- with $env }}
  {{- . | trim | nindent 2 }}
  {{- end }}
  {{- with .Values.extraEnv }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
ports:
  - name: http
    containerPort: {{ include "activity-indexer.httpPort" . }}
    protocol: TCP
{{- range $probe, $path := dict "startup" "/startupz" "readiness" "/readyz" "liveness" "/livez" }}
{{ $probe }}Probe:
  httpGet:
    path: {{ $path }}
    port: http
  {{- toYaml (index $.Values.probes $probe) | nindent 2 }}
{{- end }}
resources:
  {{- include "activity-indexer.resources" . | fromJson | toYaml | nindent 2 }}
securityContext:
  {{- toYaml .Values.securityContext | nindent 2 }}
volumeMounts:
  - name: tmp
    mountPath: /tmp
  {{- if .Values.secretFiles }}
  - name: secrets
    mountPath: /etc/activity-indexer/secrets
    readOnly: true
  {{- end }}
  {{- with .Values.extraVolumeMounts }}
  {{- toYaml . | nindent 2 }}
  {{- end }}
{{- end }}
