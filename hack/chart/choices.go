package main

// configMaps are the names of the configurations, without the hash of their content.
var configMaps = []string{"hyperconverge-scheduler-config", "hyperconverge-rebalancer-config"}

// choice is what users of the chart turn on by values, and of the kustomizations by
// components.
type choice struct {
	condition  string
	components []string
}

// part is a kustomization with what can be chosen in it.
type part struct {
	folder    string
	condition string // of the whole part
	prefix    string // of its files, where another part has objects of the same kinds and names
	choices   []choice
}

// withoutWebhook stands among components for what is left out instead.
const withoutWebhook = "-webhook"

const (
	webhook     = `has $.Values.webhook.mode (list "self-managed" "cert-manager")`
	aks         = `$.Values.aks.enabled`
	openShift   = `$.Values.openshift.enabled`
	onlyOne     = `$.Values.defaultScheduler.enabled`
	certManager = `eq (toString $.Values.webhook.mode) "cert-manager"`
	monitored   = `and $.Values.monitoring.enabled`
	token       = `$.Values.storage.token.enabled`
	tls         = `$.Values.storage.tls.enabled`
)

// parts are all that the chart has. Of choices that replace one value, the first counts.
// Components patch the scheduler as well as the webhook, so that both are one part.
var parts = []part{
	{folder: "base", choices: []choice{
		{`not (` + webhook + `)`, []string{withoutWebhook}},
		{onlyOne, []string{"components/default-scheduler"}},
		{token, []string{"components/storage-token"}},
		{tls, []string{"components/storage-tls"}},
		{`$.Values.gang.enabled`, []string{"components/gang"}},
		{`$.Values.storkReplacement.enabled`, []string{"components/stork-replacement"}},
		{certManager, []string{"webhook/cert-manager"}},
		{`$.Values.webhook.hostNetwork`, []string{"components/webhook-host-network"}},
		{openShift, []string{"components/openshift"}},
		{aks, []string{"components/aks"}},
	}},
	{folder: "rebalancer", condition: `$.Values.rebalancer.enabled`, choices: []choice{
		{token, []string{"components/storage-token"}},
		{tls, []string{"components/storage-tls"}},
		{`$.Values.rebalancer.rescue.forceDelete`, []string{"components/rebalancer-force-delete"}},
		{openShift, []string{"components/openshift"}},
		{aks, []string{"components/aks"}},
	}},
	{folder: "webhook/policy", condition: `eq (toString $.Values.webhook.mode) "policy"`},
	{folder: "monitoring", condition: monitored + ` (eq $.Values.monitoring.by "operator")`},
	{folder: "monitoring/azure", condition: monitored + ` (eq $.Values.monitoring.by "azure")`, prefix: "azure."},
	{folder: "monitoring/base", condition: monitored + ` (ne $.Values.monitoring.by "azure")`},
}

// omitted objects are no part of the chart: Helm makes the namespace, and the configurations
// have templates of their own.
var omitted = map[string]bool{
	"Namespace/hyperconverge-system": true, "ConfigMap/" + configMaps[0]: true, "ConfigMap/" + configMaps[1]: true,
}

// switches are conditions of objects that values turn off and no component does.
var switches = map[string]string{"ResourceQuota/hyperconverge-priority": `$.Values.quota.enabled`}

// override is what values put into a field or a list.
type override struct {
	// text takes the place of the value.
	text string
	// value is the path of a value that, if set, takes the place of the field.
	value string
	// more is the path of a list whose items are added to those of the list, or an expression
	// that begins with it; each is what is made of one of them, which is the item itself if
	// empty.
	more, each string
}

// overrides has the fields of objects by their paths.
var overrides = map[string]map[string]override{
	"Deployment/hyperconverge-scheduler": deployment("scheduler", map[string]override{
		container + "args[2]":                          {text: `--v={{ $.Values.scheduler.logLevel }}`},
		"spec.template.spec.volumes[0].configMap.name": {text: `{{ include "hyperconverge.configMap" $ }}`},
	}),
	"Deployment/hyperconverge-webhook": deployment("webhook", map[string]override{
		container + "args[0]": {text: "--scheduler-name={{ first $.Values.profiles }}" +
			`{{ with rest $.Values.profiles }}{{ printf "- --own-scheduler-names=%s" (join "," .) | nindent 8 }}{{ end }}`},
	}),
	"Deployment/hyperconverge-rebalancer": deployment("rebalancer", map[string]override{
		"spec.template.spec.volumes[0].configMap.name": {text: `{{ include "hyperconverge.rebalancer.configMap" $ }}`},
		"spec.template.spec.volumes[1].configMap.name": {text: `{{ include "hyperconverge.configMap" $ }}`},
	}),
	"NetworkPolicy/hyperconverge-scheduler":                ports("storagePorts | concat $.Values.apiServerPorts"),
	"NetworkPolicy/hyperconverge-rebalancer":               ports("storagePorts | concat $.Values.apiServerPorts"),
	"NetworkPolicy/hyperconverge-webhook":                  ports("apiServerPorts"),
	"MutatingAdmissionPolicy/hyperconverge-claims":         policy,
	"MutatingAdmissionPolicy/hyperconverge-volumes":        policy,
	"MutatingAdmissionPolicyBinding/hyperconverge-claims":  {"apiVersion": policyVersion},
	"MutatingAdmissionPolicyBinding/hyperconverge-volumes": {"apiVersion": policyVersion},
	"ClusterRoleBinding/hyperconverge-metrics-reader":      prometheus,
	"RoleBinding/hyperconverge-metrics-reader":             prometheus,
}

const container = "spec.template.spec.containers[0]."

// deployment has what all Deployments let values change.
func deployment(values string, others map[string]override) map[string]override {
	others["spec.replicas"] = override{value: values + ".replicas"}
	others[container+"image"] = override{text: `{{ include "hyperconverge.image" (list $ "hyperconverge-` + values + `") | quote }}`}
	others[container+"imagePullPolicy"] = override{text: `{{ $.Values.image.pullPolicy }}`}
	others[container+"resources"] = override{value: values + ".resources"}
	others["spec.template.spec.imagePullSecrets"] = override{value: "image.pullSecrets"}
	others[container+"args"] = override{more: values + ".extraArgs"}
	others["spec.template.spec.affinity.nodeAffinity"] = override{value: values + ".nodeAffinity"}
	others["spec.template.spec.tolerations"] = override{more: values + ".tolerations"}
	return others
}

// ports are those that a network policy lets pods reach besides the ones of DNS.
func ports(values string) map[string]override {
	return map[string]override{"spec.egress[1].ports": {more: values, each: `{protocol: TCP, port: {{ . }}}`}}
}

var policyVersion = override{text: `{{ include "hyperconverge.policyVersion" $ }}`}

var policy = map[string]override{
	"apiVersion":                   policyVersion,
	"spec.variables[1].expression": {text: `{{ printf "['%s']" (join "', '" $.Values.webhook.policy.storageClasses) | quote }}`},
}

var prometheus = map[string]override{
	"subjects[0].name":      {text: `{{ $.Values.monitoring.prometheus.serviceAccount | quote }}`},
	"subjects[0].namespace": {text: `{{ $.Values.monitoring.prometheus.namespace | quote }}`},
}
