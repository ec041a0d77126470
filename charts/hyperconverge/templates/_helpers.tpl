{{- /* An image: (list $ NAME). */ -}}
{{- define "hyperconverge.image" -}}
{{- $ := index . 0 -}}
{{- $digest := get $.Values.image.digests (trimPrefix "hyperconverge-" (index . 1)) -}}
{{- with $.Values.image.registry }}{{ trimSuffix "/" . }}/{{ end }}{{ index . 1 }}{{ with $digest }}@{{ . }}{{ else }}:{{ $.Values.image.tag | default $.Chart.AppVersion }}{{ end }}
{{- end }}

{{- define "hyperconverge.labels" -}}
app.kubernetes.io/managed-by: {{ $.Release.Service }}
helm.sh/chart: {{ $.Chart.Name }}-{{ $.Chart.Version | replace "+" "_" }}
{{- end }}

{{- /* v1beta1 needs a feature gate. v1 is there from Kubernetes 1.36 on; helm template knows
no APIs. */ -}}
{{- define "hyperconverge.policyVersion" -}}
{{- $v1 := "admissionregistration.k8s.io/v1" -}}
{{- $served := $.Capabilities.APIVersions.Has (printf "%s/MutatingAdmissionPolicy" $v1) -}}
{{- $v1 }}{{ if not (or $served (ge (int (regexFind "^[0-9]+" $.Capabilities.KubeVersion.Minor)) 36)) }}beta1{{ end }}
{{- end }}

{{- /* Named after its content, so that a changed configuration is a new revision of the
Deployment: if it is wrong, its first pod fails, and the pods of the revision before go on. */ -}}
{{- define "hyperconverge.configMap" -}}
hyperconverge-scheduler-config-{{ include "hyperconverge.configuration" . | sha256sum | trunc 10 }}
{{- end }}

{{- /* The names of all profiles, as JSON. */ -}}
{{- define "hyperconverge.profiles" -}}
{{- $names := $.Values.profiles -}}
{{- if $.Values.storkReplacement.enabled }}{{ $names = append $names "stork" }}{{ end -}}
{{- if $.Values.defaultScheduler.enabled }}{{ $names = prepend $names "default-scheduler" }}{{ end -}}
{{- $names | uniq | toJson -}}
{{- end }}

{{- /* The arguments of the plugin: what is chosen elsewhere, and args over it. */ -}}
{{- define "hyperconverge.args" -}}
{{- $storage := dict "endpoint" $.Values.storage.endpoint -}}
{{- if $.Values.storage.token.enabled -}}
{{- $_ := set $storage "tokenFile" "/var/run/secrets/openstorage/auth-token" -}}
{{- if not $.Values.storage.tls.enabled }}{{ $_ := set $storage "allowPlaintextToken" true }}{{ end -}}
{{- end -}}
{{- if $.Values.storage.tls.enabled -}}
{{- $tls := dict "enabled" true "caFile" "/etc/openstorage/ca.crt" -}}
{{- with $.Values.storage.tls.serverName }}{{ $_ := set $tls "serverName" . }}{{ end -}}
{{- $_ := set $storage "tls" $tls -}}
{{- end -}}
{{- $args := dict "openStorage" $storage -}}
{{- if $.Values.aks.enabled -}}
{{- $_ := set $args "topologyKeys" (dict "region" (list "topology.kubernetes.io/region") "zone" (list "topology.kubernetes.io/zone") "rack" (list "px/rack")) -}}
{{- end -}}
{{- toYaml (mergeOverwrite $args (deepCopy $.Values.args)) -}}
{{- end }}

{{- define "hyperconverge.configuration" -}}
apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
leaderElection:
  leaderElect: true
  {{- if $.Values.defaultScheduler.enabled }}
  # The lease of kube-scheduler itself.
  resourceName: kube-scheduler
  resourceNamespace: kube-system
  {{- else }}
  resourceName: hyperconverge-scheduler
  resourceNamespace: {{ $.Release.Namespace | quote }}
  {{- end }}
clientConnection:
  qps: {{ $.Values.clientConnection.qps }}
  burst: {{ $.Values.clientConnection.burst }}
enableProfiling: false
enableContentionProfiling: false
profiles:
{{- range include "hyperconverge.profiles" $ | fromJsonArray }}
- schedulerName: {{ . | quote }}
  plugins:
    multiPoint:
      enabled:
      - name: Hyperconverge
        weight: {{ $.Values.weight }}
      {{- if $.Values.gang.enabled }}
      - name: Coscheduling
    # Pods of one gang stand together in the queue.
    queueSort:
      enabled:
      - name: Coscheduling
      disabled:
      - name: "*"
      {{- end }}
  pluginConfig:
  {{- if $.Values.gang.enabled }}
  - name: Coscheduling
    args:
      permitWaitingTimeSeconds: 60
  {{- end }}
  - name: Hyperconverge
    args:
      {{- include "hyperconverge.args" $ | nindent 6 }}
{{- end }}
{{- end }}

{{- define "hyperconverge.rebalancer.configMap" -}}
hyperconverge-rebalancer-config-{{ include "hyperconverge.rebalancer.configuration" . | sha256sum | trunc 10 }}
{{- end }}

{{- /* What is chosen, and settings over it. */ -}}
{{- define "hyperconverge.rebalancer.configuration" -}}
{{- $chosen := pick $.Values.rebalancer "dryRun" "optIn" "rescue" -}}
{{- $document := dict "apiVersion" "hyperconverge.dev/v1" "kind" "RebalancerConfiguration" -}}
{{- toYaml (mergeOverwrite $document (deepCopy $chosen) (deepCopy $.Values.rebalancer.settings)) -}}
{{- end }}

{{- /* What a schema cannot say. */ -}}
{{- define "hyperconverge.check" -}}
{{- /* Rights, and what templates show, go with the values of their own. */ -}}
{{- range list "dryRun" "optIn" -}}
{{- if hasKey $.Values.rebalancer.settings . }}{{ fail (printf "rebalancer.settings.%s: set rebalancer.%s instead" . .) }}{{ end -}}
{{- end -}}
{{- range list "enabled" "forceDelete" -}}
{{- if hasKey ($.Values.rebalancer.settings.rescue | default dict) . }}{{ fail (printf "rebalancer.settings.rescue.%s: set rebalancer.rescue.%s instead" . .) }}{{ end -}}
{{- end -}}
{{- if and $.Values.rebalancer.rescue.forceDelete (not $.Values.rebalancer.rescue.enabled) }}{{ fail "rebalancer.rescue.forceDelete: needs rebalancer.rescue.enabled" }}{{ end -}}
{{- if and $.Values.rebalancer.rescue.enabled (not $.Values.rebalancer.enabled) }}{{ fail "rebalancer.rescue.enabled: needs rebalancer.enabled" }}{{ end -}}
{{- if and $.Values.storage.tls.serverName (not $.Values.storage.tls.enabled) }}{{ fail "storage.tls.serverName: needs storage.tls.enabled" }}{{ end -}}
{{- if and $.Values.webhook.hostNetwork (not (has $.Values.webhook.mode (list "self-managed" "cert-manager"))) -}}
{{- fail "webhook.hostNetwork: there is no webhook: webhook.mode has to be self-managed or cert-manager" -}}
{{- end -}}
{{- if and $.Values.webhook.hostNetwork (eq (int $.Values.webhook.hostPorts.admission) (int $.Values.webhook.hostPorts.ops)) }}{{ fail "webhook.hostPorts.ops: has to be another port than webhook.hostPorts.admission" }}{{ end -}}
{{- if and $.Values.openshift.enabled $.Values.webhook.hostNetwork }}{{ fail "webhook.hostNetwork: the SCC restricted-v2 of OpenShift forbids the network of nodes, and its API servers reach pods" }}{{ end -}}
{{- if and $.Values.openshift.enabled $.Values.aks.enabled }}{{ fail "openshift.enabled: a cluster is one of OpenShift or one of AKS, and aks.enabled is set" }}{{ end -}}
{{- if and $.Values.gang.enabled (hasSuffix "-kubernetes1.37" ($.Values.image.tag | default $.Chart.AppVersion)) }}{{ fail "gang.enabled: the build for Kubernetes 1.37 has no Coscheduling; use the PodGroups of Kubernetes itself" }}{{ end -}}
{{- if and $.Values.storkReplacement.enabled (eq (toString $.Values.webhook.mode) "policy") }}{{ fail "webhook.mode: the policies would give pods another name than stork, so it has to be self-managed, cert-manager or off" }}{{ end -}}
{{- if $.Values.defaultScheduler.enabled -}}
{{- if eq (toString $.Values.webhook.mode) "policy" }}{{ fail "webhook.mode: the policies would give pods another name than default-scheduler, so it has to be self-managed, cert-manager or off" }}{{ end -}}
{{- if $.Values.aks.enabled }}{{ fail "aks.enabled: AKS keeps its own scheduler, so defaultScheduler.enabled has to be false" }}{{ end -}}
{{- if $.Values.openshift.enabled }}{{ fail "openshift.enabled: OpenShift keeps its own scheduler, whose lease is in openshift-kube-scheduler, so defaultScheduler.enabled has to be false" }}{{ end -}}
{{- if $.Values.storkReplacement.enabled }}{{ fail "storkReplacement.enabled: kube-scheduler, which takes over when it is put back, does not serve stork, so defaultScheduler.enabled has to be false" }}{{ end -}}
{{- else if has "default-scheduler" $.Values.profiles -}}
{{- fail "profiles: default-scheduler is served by kube-scheduler, and both would place its pods; set defaultScheduler.enabled to be the only one" -}}
{{- end -}}
{{- end }}
