{{- define "ullage.name" -}}
{{- .Values.nameOverride | default .Chart.Name | trunc 50 | trimSuffix "-" -}}
{{- end -}}

{{/* Room is left for the suffixes of the parts. */}}
{{- define "ullage.fullname" -}}
{{- if .Values.fullnameOverride -}}
{{- .Values.fullnameOverride | trunc 50 | trimSuffix "-" -}}
{{- else if contains (include "ullage.name" .) .Release.Name -}}
{{- .Release.Name | trunc 50 | trimSuffix "-" -}}
{{- else -}}
{{- printf "%s-%s" .Release.Name (include "ullage.name" .) | trunc 50 | trimSuffix "-" -}}
{{- end -}}
{{- end -}}

{{/* Cluster-wide names hold the namespace, so that two releases do not share a role. */}}
{{- define "ullage.clusterName" -}}
{{- printf "%s-%s" (include "ullage.fullname" .) .Release.Namespace -}}
{{- end -}}

{{- define "ullage.selector" -}}
app.kubernetes.io/name: {{ include "ullage.name" . }}
app.kubernetes.io/instance: {{ .Release.Name }}
{{- end -}}

{{- define "ullage.labels" -}}
{{ include "ullage.selector" . }}
app.kubernetes.io/version: {{ .Chart.AppVersion | quote }}
app.kubernetes.io/managed-by: {{ .Release.Service }}
app.kubernetes.io/part-of: ullage
helm.sh/chart: {{ printf "%s-%s" .Chart.Name .Chart.Version | replace "+" "_" | trunc 63 | trimSuffix "-" }}
{{- end -}}

{{- define "ullage.serviceAccount" -}}
{{- if .Values.serviceAccount.create -}}
{{- .Values.serviceAccount.name | default (printf "%s-agent" (include "ullage.fullname" .)) -}}
{{- else -}}
{{- required "serviceAccount.name is needed where serviceAccount.create is false" .Values.serviceAccount.name -}}
{{- end -}}
{{- end -}}

{{- define "ullage.image" -}}
{{- if .Values.image.digest -}}
{{- printf "%s@%s" .Values.image.repository .Values.image.digest -}}
{{- else -}}
{{- printf "%s:%s" .Values.image.repository (.Values.image.tag | default .Chart.AppVersion) -}}
{{- end -}}
{{- end -}}

{{/* ADDRESS:PORT, with an IPv6 address in brackets. */}}
{{- define "ullage.listen" -}}
{{- if contains ":" .Values.agent.address -}}
{{- printf "[%s]:%d" .Values.agent.address (int .Values.agent.port) -}}
{{- else -}}
{{- printf "%s:%d" .Values.agent.address (int .Values.agent.port) -}}
{{- end -}}
{{- end -}}

{{/* What the chart itself decides stands first; the schema keeps it out of agent.config. */}}
{{- define "ullage.config" -}}
mode: {{ .Values.mode }}
listen: {{ include "ullage.listen" . | quote }}
socket: /run/ullage/agent.sock
state_dir: /var/lib/ullage
kubernetes:
  {{- $own := dict "kubelet_dir" .Values.agent.kubeletDir }}
  {{- if .Values.nodeHooks.enabled }}
  {{- $_ := set $own "node_hook_socket" (printf "%s/ullage.sock" .Values.nodeHooks.socketDir) }}
  {{- end }}
  {{- toYaml (merge $own (.Values.agent.config.kubernetes | default dict)) | nindent 2 }}
{{- with omit .Values.agent.config "kubernetes" }}
{{ toYaml . }}
{{- end }}
{{- end -}}
