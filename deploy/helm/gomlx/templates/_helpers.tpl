{{- define "gomlx.name" -}}
{{- if contains .Chart.Name .Release.Name -}}
{{- .Release.Name | trunc 52 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name .Chart.Name | trunc 52 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{- define "gomlx.selector" -}}
app.kubernetes.io/name: {{ .Chart.Name }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "gomlx.labels" -}}
{{ include "gomlx.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version }}
{{- end -}}

{{- define "gomlx.image" -}}
{{- $image := .Values.image -}}
{{- if $image.digest -}}
{{- printf "%s@%s" $image.repository $image.digest -}}
{{- else -}}
{{- printf "%s:%s" $image.repository ($image.tag | default .Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{- define "gomlx.account" -}}
{{- .Values.serviceAccount.name | default (include "gomlx.name" .) -}}
{{- end -}}

{{- /* MiB of /dev/shm: what the datastores reserve, and the service's own state. */ -}}
{{- define "gomlx.shmMi" -}}
{{- $sum := int .Values.memoryMi.shm -}}
{{- range .Values.config.datastores -}}
{{- $sum = add $sum (hasKey . "memory_mb" | ternary .memory_mb 256 | int) -}}
{{- end -}}
{{- $sum -}}
{{- end -}}

{{- /* MiB of a pod: an emptyDir in memory counts as the memory of who writes to it. */ -}}
{{- define "gomlx.memoryMi" -}}
{{- $memory := .Values.memoryMi -}}
{{- $workers := mul (int .Values.config.endpoint.workers) (int $memory.worker) -}}
{{- add (int $memory.base) $workers (int $memory.models) (include "gomlx.shmMi" . | int) -}}
{{- end -}}

{{- /* Seconds: the drain, the requests under way, and what a stop may take beyond. */ -}}
{{- define "gomlx.graceSeconds" -}}
{{- $endpoint := .Values.config.endpoint -}}
{{- add (ceil $endpoint.drain_seconds | int) (ceil $endpoint.graceful_seconds | int) 10 -}}
{{- end -}}

{{- /* Where metrics are: on the admin listener, if there is one. */ -}}
{{- define "gomlx.scrapePort" -}}
{{- $admin := .Values.config.endpoint.admin | default dict -}}
{{- ternary "admin" "http" (hasKey $admin "port") -}}
{{- end -}}

{{- define "gomlx.adminTls" -}}
{{- $admin := .Values.config.endpoint.admin | default dict -}}
{{- and (hasKey .Values.config.endpoint "tls") (ne (get $admin "tls" | toString) "false") -}}
{{- end -}}

{{- define "gomlx.scrapeScheme" -}}
{{- if eq (include "gomlx.scrapePort" .) "admin" -}}
{{- ternary "https" "http" (eq (include "gomlx.adminTls" .) "true") -}}
{{- else -}}
{{- ternary "https" "http" (hasKey .Values.config.endpoint "tls") -}}
{{- end -}}
{{- end -}}

{{- /* Kubelets have no client certificate: then they probe the admin listener. */ -}}
{{- define "gomlx.probe" -}}
{{- $tls := .Values.config.endpoint.tls | default dict -}}
{{- if ne ($tls.client_certificate | default "none") "required" -}}
port: http, scheme: {{ ternary "HTTPS" "HTTP" (gt (len $tls) 0) }}
{{- else if eq (include "gomlx.scrapeScheme" .) "http" -}}
port: admin, scheme: HTTP
{{- else -}}
{{- fail "client_certificate: required needs endpoint.admin with port and tls: false, for probes" -}}
{{- end -}}
{{- end -}}
