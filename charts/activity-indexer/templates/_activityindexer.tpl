{{- /* `spec` of the ActivityIndexer, as JSON. */}}
{{- define "activity-indexer.spec" -}}
{{- $spec := dict "mode" .Values.activityIndexer.mode -}}
{{- $_ := set $spec "source" (dict "kafka" (include "activity-indexer.kafka" . | fromJson)) -}}
{{- if eq .Values.mode "deployment" -}}
{{- $target := dict "kind" "Deployment" "name" (include "activity-indexer.fullname" .) -}}
{{- $_ := set $spec "workload" (dict "targetRef" $target) -}}
{{- else -}}
{{- $_ := set $spec "workload" (dict "template" (include "activity-indexer.template" . | fromJson)) -}}
{{- end -}}
{{- range $field := list "scaling" "deadLetter" "tombstones" -}}
{{- with get $.Values.activityIndexer $field -}}{{- $_ := set $spec $field . -}}{{- end -}}
{{- end -}}
{{- $topic := get .Values.config "KAFKA_DEAD_LETTER_TOPIC" -}}
{{- if $topic -}}
{{- $_ := set $spec "deadLetter" (merge (dict) (get $spec "deadLetter" | default dict) (dict "topic" $topic)) -}}
{{- end -}}
{{- toJson (mergeOverwrite $spec (deepCopy .Values.activityIndexer.spec)) }}
{{- end }}

{{- /* `spec.source.kafka`, from the settings of the indexer. */}}
{{- define "activity-indexer.kafka" -}}
{{- $config := .Values.config -}}
{{- $kafka := dict -}}
{{- $_ := set $kafka "bootstrapServers" (regexSplit "\\s*,\\s*" (get $config "KAFKA_BOOTSTRAP_SERVERS" | default "kafka:9093") -1) -}}
{{- $_ := set $kafka "topic" (get $config "KAFKA_TRANSACTIONS_TOPIC" | default "transactions") -}}
{{- $_ := set $kafka "consumerGroup" (get $config "KAFKA_CONSUMER_GROUP" | default "transaction_indexer") -}}
{{- with get $config "KAFKA_AUTO_OFFSET_RESET" -}}{{- $_ := set $kafka "startFrom" (title .) -}}{{- end -}}
{{- with get $config "KAFKA_TOPIC_PARTITIONS" -}}{{- $_ := set $kafka "topicPartitions" . -}}{{- end -}}
{{- with include "activity-indexer.kafkaSecurity" . | fromJson -}}{{- $_ := set $kafka "security" . -}}{{- end -}}
{{- toJson $kafka }}
{{- end }}

{{- define "activity-indexer.kafkaSecurity" -}}
{{- $security := dict -}}
{{- $config := .Values.config -}}
{{- with get $config "KAFKA_SECURITY_PROTOCOL" -}}{{- $_ := set $security "protocol" . -}}{{- end -}}
{{- $user := get .Values.secrets "KAFKA_SASL_USERNAME" -}}
{{- $password := get .Values.secrets "KAFKA_SASL_PASSWORD" -}}
{{- if hasPrefix "SASL" (get $security "protocol" | default "") -}}
{{- if or (not $user) (not $password) (ne (get (default dict $user) "name") (get (default dict $password) "name")) -}}
{{- fail "the operator logs in as the indexer does, and reads user and password from one Secret: name it in both secrets.KAFKA_SASL_USERNAME and secrets.KAFKA_SASL_PASSWORD" -}}
{{- end -}}
{{- $_ := set $security "saslMechanism" (get $config "KAFKA_SASL_MECHANISM" | default "PLAIN") -}}
{{- $_ := set $security "credentialsSecretRef" (dict "name" $user.name "usernameKey" $user.key "passwordKey" $password.key) -}}
{{- end -}}
{{- with get .Values.secretFiles "KAFKA_SSL_CA_FILE" -}}{{- $_ := set $security "caSecretRef" . -}}{{- end -}}
{{- with get .Values.secretFiles "KAFKA_SSL_CERT_FILE" -}}
{{- $key := get $.Values.secretFiles "KAFKA_SSL_KEY_FILE" | default dict -}}
{{- if or (ne .key "tls.crt") (ne (get $key "key") "tls.key") (ne (get $key "name") .name) -}}
{{- fail "the operator takes a client certificate from a Secret of type kubernetes.io/tls: name one in secretFiles.KAFKA_SSL_CERT_FILE (key tls.crt) and secretFiles.KAFKA_SSL_KEY_FILE (key tls.key)" -}}
{{- end -}}
{{- $_ := set $security "clientCertificateSecretRef" (dict "name" .name) -}}
{{- end -}}
{{- if kindIs "bool" (get $config "KAFKA_SSL_CHECK_HOSTNAME") -}}
{{- $_ := set $security "checkHostname" (get $config "KAFKA_SSL_CHECK_HOSTNAME") -}}
{{- end -}}
{{- toJson $security }}
{{- end }}

{{- /* Secrets that the operator reads, as {names: […]}. */}}
{{- define "activity-indexer.kafkaSecrets" -}}
{{- $security := include "activity-indexer.kafkaSecurity" . | fromJson -}}
{{- $names := list -}}
{{- range $_, $field := $security -}}
{{- if kindIs "map" $field -}}{{- $names = append $names $field.name -}}{{- end -}}
{{- end -}}
{{- toJson (dict "names" ($names | uniq | sortAlpha)) }}
{{- end }}

{{- /* `spec.workload.template`: what has a field there, and the rest as variables. */}}
{{- define "activity-indexer.template" -}}
{{- $v := .Values -}}
{{- $t := dict "image" (include "activity-indexer.image" (dict "image" $v.image "root" $)) "imagePullPolicy" $v.image.pullPolicy -}}
{{- $_ := set $t "elasticsearch" (include "activity-indexer.server" (dict "root" $ "url" "ELASTICSEARCH_URL" "ca" "ELASTICSEARCH_CA_FILE" "default" "http://elasticsearch:9200") | fromJson) -}}
{{- with get $v.config "ELASTICSEARCH_INDEX" -}}{{- $_ := set $t.elasticsearch "index" . -}}{{- end -}}
{{- if kindIs "bool" (get $v.config "ELASTICSEARCH_CREATE_INDEX") -}}{{- $_ := set $t.elasticsearch "createIndex" (get $v.config "ELASTICSEARCH_CREATE_INDEX") -}}{{- end -}}
{{- with include "activity-indexer.server" (dict "root" $ "url" "REDIS_URL" "ca" "REDIS_CA_FILE") | fromJson -}}{{- $_ := set $t "redis" . -}}{{- end -}}
{{- $audit := dict -}}
{{- if kindIs "bool" (get $v.config "CONSUMER_ENABLE_AUDIT_DB") -}}{{- $_ := set $audit "enabled" (get $v.config "CONSUMER_ENABLE_AUDIT_DB") -}}{{- end -}}
{{- with include "activity-indexer.server" (dict "root" $ "url" "DATABASE_URL" "ca" "DATABASE_CA_FILE") | fromJson -}}{{- $_ := set $audit "database" . -}}{{- end -}}
{{- with $audit -}}{{- $_ := set $t "audit" . -}}{{- end -}}
{{- $batch := dict -}}
{{- range $field, $variable := dict "size" "CONSUMER_BATCH_SIZE" "timeoutSeconds" "CONSUMER_BATCH_TIMEOUT" "bytes" "CONSUMER_BATCH_BYTES" -}}
{{- with get $v.config $variable -}}{{- $_ := set $batch $field (float64 .) -}}{{- end -}}
{{- end -}}
{{- with $batch -}}{{- $_ := set $t "batch" . -}}{{- end -}}
{{- with get $v.config "CONSUMER_LOG_LEVEL" -}}{{- $_ := set $t "logLevel" . -}}{{- end -}}
{{- if kindIs "bool" (get $v.config "CONSUMER_ENABLE_DEDUP") -}}{{- $_ := set $t "dedup" (get $v.config "CONSUMER_ENABLE_DEDUP") -}}{{- end -}}
{{- with get $v.config "CONSUMER_ENRICHMENTS" -}}{{- $_ := set $t "enrichments" (regexSplit "\\s*,\\s*" . -1) -}}{{- end -}}
{{- $_ := set $t "shutdownTimeoutSeconds" (ceil (include "activity-indexer.shutdownTimeout" . | float64) | int64) -}}
{{- if and $v.podDisruptionBudget.enabled (kindIs "float64" $v.podDisruptionBudget.maxUnavailable) -}}{{- $_ := set $t "maxUnavailable" $v.podDisruptionBudget.maxUnavailable -}}{{- end -}}
{{- $account := dict -}}
{{- if not $v.serviceAccount.create -}}{{- $_ := set $account "name" (default "default" $v.serviceAccount.name) -}}{{- end -}}
{{- with $v.serviceAccount.annotations -}}{{- $_ := set $account "annotations" . -}}{{- end -}}
{{- with $account -}}{{- $_ := set $t "serviceAccount" . -}}{{- end -}}
{{- $_ := set $t "resources" (include "activity-indexer.resources" . | fromJson) -}}
{{- range $field := list "imagePullSecrets" "extraEnvFrom" "podLabels" "podAnnotations" "nodeSelector" "tolerations" "affinity" "priorityClassName" -}}
{{- with get $v $field -}}{{- $_ := set $t $field . -}}{{- end -}}
{{- end -}}
{{- with $v.commonLabels -}}{{- $_ := set $t "podLabels" (merge (dict) ($t.podLabels | default dict) .) -}}{{- end -}}
{{- with include "activity-indexer.topologySpread" . | fromYamlArray -}}{{- $_ := set $t "topologySpreadConstraints" . -}}{{- end -}}
{{- with include "activity-indexer.otherEnv" . | fromYamlArray -}}{{- $_ := set $t "extraEnv" . -}}{{- end -}}
{{- $files := include "activity-indexer.otherFiles" . | fromJson -}}
{{- $volumes := $v.extraVolumes -}}
{{- $mounts := $v.extraVolumeMounts -}}
{{- with $files -}}
{{- $volumes = concat (include "activity-indexer.secretVolume" . | fromYamlArray) $volumes -}}
{{- $mounts = prepend $mounts (dict "name" "secrets" "mountPath" "/etc/activity-indexer/secrets" "readOnly" true) -}}
{{- end -}}
{{- with $volumes -}}{{- $_ := set $t "extraVolumes" . -}}{{- end -}}
{{- with $mounts -}}{{- $_ := set $t "extraVolumeMounts" . -}}{{- end -}}
{{- toJson $t }}
{{- end }}

{{- /* url or urlSecretRef, and caSecretRef, of a server: dict root, url, ca, default. */}}
{{- define "activity-indexer.server" -}}
{{- $server := dict -}}
{{- $secret := get .root.Values.secrets .url -}}
{{- $url := get .root.Values.config .url -}}
{{- if $secret -}}{{- $_ := set $server "urlSecretRef" $secret -}}
{{- else if $url -}}{{- $_ := set $server "url" $url -}}
{{- else if .default -}}{{- $_ := set $server "url" .default -}}
{{- end -}}
{{- with get .root.Values.secretFiles .ca -}}{{- $_ := set $server "caSecretRef" . -}}{{- end -}}
{{- toJson $server }}
{{- end }}

{{- define "activity-indexer.fields" -}}
^(KAFKA_(BOOTSTRAP_SERVERS|TRANSACTIONS_TOPIC|CONSUMER_GROUP|DEAD_LETTER_TOPIC|AUTO_OFFSET_RESET|TOPIC_PARTITIONS|SECURITY_PROTOCOL|SASL_MECHANISM|SASL_USERNAME|SASL_PASSWORD|SSL_CA_FILE|SSL_CERT_FILE|SSL_KEY_FILE|SSL_CHECK_HOSTNAME)|ELASTICSEARCH_(URL|INDEX|CREATE_INDEX|CA_FILE)|REDIS_(URL|CA_FILE)|DATABASE_(URL|CA_FILE)|CONSUMER_(ENABLE_AUDIT_DB|BATCH_SIZE|BATCH_TIMEOUT|BATCH_BYTES|LOG_LEVEL|ENABLE_DEDUP|ENRICHMENTS|SHUTDOWN_TIMEOUT))$
{{- end }}

{{- /* Files for which the ActivityIndexer has no field. */}}
{{- define "activity-indexer.otherFiles" -}}
{{- $files := dict -}}
{{- range $variable, $from := .Values.secretFiles -}}
{{- if not (regexMatch (include "activity-indexer.fields" $) $variable) -}}{{- $_ := set $files $variable $from -}}{{- end -}}
{{- end -}}
{{- toJson $files }}
{{- end }}

{{- /* Settings for which it has none, as variables. */}}
{{- define "activity-indexer.otherEnv" -}}
{{- $fields := include "activity-indexer.fields" . -}}
{{- range $variable, $value := include "activity-indexer.config" . | fromJson }}
{{- if not (regexMatch $fields $variable) }}
- name: {{ $variable }}
  value: {{ ternary $value (toJson $value) (kindIs "string" $value) | quote }}
{{- end }}
{{- end }}
{{- $secrets := dict -}}
{{- range $variable, $from := .Values.secrets -}}
{{- if not (regexMatch $fields $variable) -}}{{- $_ := set $secrets $variable $from -}}{{- end -}}
{{- end -}}
{{- include "activity-indexer.secretEnv" (dict "secrets" $secrets "secretFiles" (include "activity-indexer.otherFiles" . | fromJson)) }}
{{- with .Values.extraEnv }}
{{ toYaml . }}
{{- end }}
{{- end }}
