{{/* The labels by which Services and policies select the portal's pods. */}}
{{- define "ikd-portal.selector" -}}
{app.kubernetes.io/name: ikd-portal, app.kubernetes.io/instance: {{ .Release.Name }}}
{{- end }}

{{/* The host of the portal's origin, without its port. */}}
{{- define "ikd-portal.host" -}}
{{ regexReplaceAll ":[0-9]+$" (get (urlParse .Values.url) "host") "" }}
{{- end }}

{{- define "ikd-portal.metadata" -}}
{name: {{ .Release.Name }}, namespace: {{ .Release.Namespace }}, labels: {{ include "ikd-portal.selector" . }}}
{{- end }}

{{- define "ikd-portal.secret" -}}
{{ if .Values.secret.existing }}{{ .Values.secret.existing }}{{ else if .Values.secret.values }}{{ .Release.Name }}{{ end }}
{{- end }}

{{/* Whether more than one pod can run. */}}
{{- define "ikd-portal.several" -}}
{{ if or .Values.autoscaling.enabled (gt (int .Values.replicas) 1) }}yes{{ end }}
{{- end }}

{{/* Stop at values that contradict each other, and say what to change. */}}
{{- define "ikd-portal.validate" -}}
{{- $sqlite := eq .Values.database "sqlite" -}}
{{- if not .Values.url }}{{ fail "url: set the portal's origin, such as https://sso.example.com" }}{{ end -}}
{{- if not .Values.image.repository }}{{ fail "image.repository: set your image. None is published, see docs/install.md" }}{{ end -}}
{{- if not .Values.trustedProxies }}{{ fail "trustedProxies: list the addresses of the proxy's pods, such as 10.42.0.0/16. All checks are refused without them" }}{{ end -}}
{{- if and $sqlite (include "ikd-portal.several" .) }}{{ fail "replicas, autoscaling.enabled: several pods need PostgreSQL. Set database to postgresql, or replicas to 1" }}{{ end -}}
{{- if and .Values.secret.existing .Values.secret.values }}{{ fail "secret: set either existing or values" }}{{ end -}}
{{- if and (not $sqlite) (not .Values.secret.existing) }}
{{- range list "DATABASE_URL" "IKD_SECRET_KEY" "IKD_ENCRYPTION_KEYS" }}
{{- if not (get $.Values.secret.values .) }}{{ fail (printf "secret.values.%s: required with PostgreSQL. Or set secret.existing" .) }}{{ end -}}
{{- end }}
{{- end -}}
{{- if and .Values.serviceMonitor.enabled (not .Values.secret.existing) (not .Values.secret.values.IKD_METRICS_TOKEN) }}{{ fail "serviceMonitor.enabled: the Secret needs IKD_METRICS_TOKEN" }}{{ end -}}
{{- if and .Values.networkPolicy.enabled (not .Values.networkPolicy.from) }}{{ fail "networkPolicy.from: list the proxy's pods. No one could reach the portal otherwise" }}{{ end -}}
{{- if and .Values.gatewayApi.enabled (not .Values.gatewayApi.parentRefs) }}{{ fail "gatewayApi.parentRefs: name the Gateway" }}{{ end -}}
{{- end }}
