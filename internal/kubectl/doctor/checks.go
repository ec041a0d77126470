package doctor

import (
	"cmp"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/util/version"
	schedulerapi "k8s.io/kubernetes/pkg/scheduler/apis/config"

	"github.com/hyperconverge/scheduler/internal/kubectl/view"
	"github.com/hyperconverge/scheduler/internal/minor"
	"github.com/hyperconverge/scheduler/pkg/placement"
	"github.com/hyperconverge/scheduler/pkg/plugins/hyperconverge"
	"github.com/hyperconverge/scheduler/pkg/spelling"
	"github.com/hyperconverge/scheduler/pkg/volumes/openstorage"
)

// Names of what the manifests deploy.
const (
	schedulerDeployment = "hyperconverge-scheduler"
	// WebhookName is the webhook's Deployment, Service and configuration.
	WebhookName = "hyperconverge-webhook"
)

// contactAge is how long storage may be silent: the node list is read every 10 s.
const contactAge = time.Minute

// certificateAge is how long before its end a certificate is told of.
const certificateAge = 24 * time.Hour

// examples bounds the names in a message.
const examples = 5

// check looks at one thing. It returns nothing if that is well.
type check struct {
	name string
	// well says what was found to be so.
	well string
	// knows reports whether the facts that the check needs are there.
	knows func(*Facts) bool
	find  func(*Facts) []Finding
}

var checks = []check{
	{"scheduler", "the scheduler runs", func(f *Facts) bool { return f.Deployments != nil }, checkScheduler},
	{"rights", "the scheduler has its rights", func(f *Facts) bool { return f.Denied != nil }, checkRights},
	{"versions", "the versions fit", func(f *Facts) bool { return f.ServerVersion != "" }, checkVersions},
	{"profiles", "every profile has the plugin", func(f *Facts) bool { return f.Configuration != nil && !f.Assumed }, checkProfiles},
	{"batching", "pods without volumes are placed in batches", func(f *Facts) bool { return f.Batching != nil }, checkBatching},
	{"storage", "storage answers", func(f *Facts) bool { return f.State != nil && f.State.Index != nil }, checkStorage},
	{"volumes", "the replicas of all volumes are known", func(f *Facts) bool { return f.State != nil && f.State.Index != nil }, checkVolumes},
	{"nodes", "every storage node is a Kubernetes node", func(f *Facts) bool { return f.State != nil && f.State.Index != nil }, checkNodes},
	{"webhook", "the webhook is registered and answers", func(f *Facts) bool { return f.Webhooks != nil && f.Endpoints != nil }, checkWebhook},
	{"schedulerNames", "pods with volumes are ours to schedule", func(f *Facts) bool { return f.Pods != nil && f.Configuration != nil }, checkSchedulerNames},
	{"keys", "all keys and values mean something", func(f *Facts) bool { return f.Pods != nil && f.Claims != nil && f.Classes != nil }, checkKeys},
}

// Examine makes all checks, in an order in which what comes first may be the cause of
// what follows.
func Examine(f *Facts) *Report {
	report := &Report{APIVersion: view.APIVersion, Kind: "DoctorReport"}
	for _, c := range checks {
		if !c.knows(f) {
			report.Findings = append(report.Findings, Finding{
				Check: c.name, Level: Unknown, Message: cmp.Or(f.Unreadable[c.name], "not checked: what it needs could not be read"),
			})
			continue
		}
		found := c.find(f)
		for i := range found {
			found[i].Check = c.name
		}
		if len(found) == 0 {
			found = []Finding{{Check: c.name, Level: Pass, Message: c.well}}
		}
		report.Findings = append(report.Findings, found...)
	}
	return report
}

func checkScheduler(f *Facts) []Finding {
	for _, d := range f.Deployments {
		if d.Name != schedulerDeployment {
			continue
		}
		if d.Status.ReadyReplicas == 0 {
			return []Finding{{Level: Fail, Message: "no replica of the Deployment " + d.Name + " is ready: nobody schedules",
				Advice: fmt.Sprintf("kubectl -n %s logs deploy/%s --all-pods; kubectl -n %s describe pods", f.Namespace, d.Name, f.Namespace)}}
		}
		if want := d.Spec.Replicas; want != nil && d.Status.ReadyReplicas < *want {
			return []Finding{{Level: Warn, Message: fmt.Sprintf("%d of %d replicas of %s are ready", d.Status.ReadyReplicas, *want, d.Name),
				Advice: fmt.Sprintf("kubectl -n %s describe pods", f.Namespace)}}
		}
		return nil
	}
	return []Finding{{Level: Fail, Message: fmt.Sprintf("there is no Deployment %s in the namespace %s", schedulerDeployment, f.Namespace),
		Advice: "install it (docs/install.md), or name its namespace with --scheduler-namespace"}}
}

func checkRights(f *Facts) []Finding {
	var found []Finding
	for _, right := range f.Denied {
		found = append(found, Finding{Level: Fail, Message: "the scheduler's account may not " + right, Advice: "apply manifests/base/scheduler/rbac.yaml again"})
	}
	return found
}

// checkVersions compares minors (minor.Skew).
func checkVersions(f *Facts) []Finding {
	var found []Finding
	server, err := version.ParseSemantic(f.ServerVersion)
	if err != nil {
		return []Finding{{Level: Unknown, Message: "the API server's version cannot be read: " + f.ServerVersion}}
	}
	if scheduler, err := version.ParseSemantic(f.SchedulerVersion); err == nil {
		if fault, advice, broken := minor.Skew(scheduler.Minor(), server.Minor()); fault != "" {
			level := Warn
			if broken {
				level = Fail
			}
			found = append(found, Finding{Level: level, Message: fault, Advice: advice})
		}
		if f.PluginVersion != "" && f.PluginVersion != f.SchedulerVersion {
			found = append(found, Finding{Level: Warn, Message: fmt.Sprintf("the scheduler is %s, kubectl-hyperconverge %s: they may explain differently", f.SchedulerVersion, f.PluginVersion),
				Advice: "use the kubectl-hyperconverge of the same release"})
		}
	}
	return found
}

func checkProfiles(f *Facts) []Finding {
	var found []Finding
	for i := range f.Configuration.Profiles {
		p := &f.Configuration.Profiles[i]
		if !hasPlugin(p) {
			found = append(found, Finding{Level: Warn, Message: "the profile " + p.SchedulerName + " places pods without regard to their volumes",
				Advice: "enable " + hyperconverge.Name + " in its multiPoint plugins"})
		}
	}
	return found
}

func hasPlugin(p *schedulerapi.KubeSchedulerProfile) bool {
	named := func(set schedulerapi.PluginSet) bool {
		return slices.ContainsFunc(set.Enabled, func(p schedulerapi.Plugin) bool { return p.Name == hyperconverge.Name })
	}
	return p.Plugins != nil && (named(p.Plugins.MultiPoint) || named(p.Plugins.Filter))
}

// checkBatching says why profiles place pods without volumes one by one. That is how
// kube-scheduler's default configuration is, so that it is no finding.
func checkBatching(f *Facts) []Finding {
	var found []Finding
	for _, profile := range slices.Sorted(maps.Keys(f.Batching)) {
		if why := f.Batching[profile]; why != "" {
			found = append(found, Finding{Level: Pass, Message: "profile " + profile + " places all pods one by one (" + why + ")"})
		}
	}
	return found
}

// checkStorage repeats what the scheduler knows of the connection: address, TLS, token.
func checkStorage(f *Facts) []Finding {
	var found []Finding
	for _, c := range f.State.Conditions {
		found = append(found, Finding{Level: Fail, Message: c.Reason + ": " + c.Message, Advice: cmp.Or(c.Advice, "docs/operate.md has a line for each of these")})
	}
	index := f.State.Index
	switch silent := f.Now.Sub(index.LastContact); {
	case len(found) > 0:
	case index.LastContact.IsZero():
		found = append(found, Finding{Level: Fail, Message: "storage has not answered since the scheduler started", Advice: openstorage.AdviceService})
	case silent > contactAge:
		found = append(found, Finding{Level: Fail, Message: fmt.Sprintf("storage has not answered for %s", silent.Round(time.Second)), Advice: "kubectl get pods -A -l name=portworx"})
	}
	return found
}

func checkVolumes(f *Facts) []Finding {
	bad := map[string][]string{}
	for i := range f.State.Index.Volumes {
		if v := &f.State.Index.Volumes[i]; v.Claimed && v.Freshness != "fresh" {
			bad[v.Freshness] = append(bad[v.Freshness], v.Handle)
		}
	}
	var found []Finding
	for _, freshness := range slices.Sorted(maps.Keys(bad)) {
		found = append(found, Finding{Level: Warn, Message: fmt.Sprintf("%d volumes are %s: %s", len(bad[freshness]), freshness, some(bad[freshness])),
			Advice: "pxctl volume inspect says what storage knows of them"})
	}
	return found
}

func checkNodes(f *Facts) []Finding {
	var found []Finding
	var unmatched []string
	for _, n := range f.State.Index.StorageNodes {
		if n.Listed && n.Node == "" {
			unmatched = append(unmatched, fmt.Sprintf("%s (hostname %s, management IP %s)", n.ID, cmp.Or(n.Hostname, "none"), cmp.Or(n.ManagementIP, "none")))
		}
	}
	if len(unmatched) > 0 {
		found = append(found, Finding{Level: Fail, Message: fmt.Sprintf("%d storage nodes are no Kubernetes nodes, and replicas there are near to nothing: %s", len(unmatched), some(unmatched)),
			Advice: "compare with the CSINodes, names and InternalIPs of the nodes; section 3 of docs/behaviour.md says how they are matched"})
	}
	states := map[string][]string{}
	for _, n := range f.State.Index.Nodes {
		for _, problem := range n.Problems {
			found = append(found, Finding{Level: Warn, Message: "node " + n.Name + ": " + problem, Advice: "correct the value on the node"})
		}
		if n.State == placement.Offline.String() || n.State == placement.Degraded.String() || n.State == placement.StorageDown.String() {
			states[n.State] = append(states[n.State], n.Name)
		}
	}
	for _, state := range slices.Sorted(maps.Keys(states)) {
		found = append(found, Finding{Level: Warn, Message: fmt.Sprintf("storage is %s on %d nodes: %s", state, len(states[state]), some(states[state])), Advice: "pxctl status on the node"})
	}
	return found
}

func checkWebhook(f *Facts) []Finding {
	for _, w := range f.Webhooks {
		if w.Name != WebhookName || len(w.Webhooks) == 0 {
			continue
		}
		bundle := w.Webhooks[0].ClientConfig.CABundle
		if until, err := validUntil(bundle); err != nil {
			return []Finding{{Level: Fail, Message: "the webhook's certificate authority cannot be read, so that the API server does not reach it: " + err.Error(),
				Advice: "kubectl -n " + f.Namespace + " logs deploy/" + WebhookName}}
		} else if f.Now.Add(certificateAge).After(until) {
			return []Finding{{Level: Fail, Message: "the webhook's certificate authority ends at " + until.Format(time.RFC3339), Advice: "kubectl -n " + f.Namespace + " rollout restart deploy/" + WebhookName}}
		}
		for _, slice := range f.Endpoints {
			for _, endpoint := range slice.Endpoints {
				if endpoint.Conditions.Ready == nil || *endpoint.Conditions.Ready {
					return nil
				}
			}
		}
		return []Finding{{Level: Fail, Message: "the webhook is registered, and no pod of it is ready: pods keep the scheduler that they name",
			Advice: "kubectl -n " + f.Namespace + " describe pods -l app.kubernetes.io/name=" + WebhookName}}
	}
	return []Finding{{Level: Warn, Message: "there is no webhook: only pods that name one of our schedulers are ours",
		Advice: "nothing if that is meant; else install it (docs/webhook.md)"}}
}

// validUntil is when the first of the certificates ends that ends last.
func validUntil(bundle []byte) (time.Time, error) {
	var last time.Time
	for block, rest := pem.Decode(bundle); block != nil; block, rest = pem.Decode(rest) {
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return last, err
		}
		if certificate.NotAfter.After(last) {
			last = certificate.NotAfter
		}
	}
	if last.IsZero() {
		return last, errors.New("it has no certificate")
	}
	return last, nil
}

// checkSchedulerNames finds pods with volumes of the driver whose scheduler is none of
// ours, or nobody.
func checkSchedulerNames(f *Facts) []Finding {
	ours := map[string]bool{}
	for i := range f.Configuration.Profiles {
		ours[f.Configuration.Profiles[i].SchedulerName] = true
	}
	foreign := map[string][]string{}
	for _, pod := range f.Pods {
		if finished(pod) || ours[pod.Spec.SchedulerName] || !mountsOurs(f, pod) {
			continue
		}
		foreign[pod.Spec.SchedulerName] = append(foreign[pod.Spec.SchedulerName], pod.Namespace+"/"+pod.Name)
	}
	var found []Finding
	for _, name := range slices.Sorted(maps.Keys(foreign)) {
		found = append(found, Finding{Level: Warn, Message: fmt.Sprintf("%d pods with volumes of the driver are left to the scheduler %s, which does not know where these are: %s", len(foreign[name]), name, some(foreign[name])),
			Advice: "set schedulerName in their templates, or let the webhook do it; for a name such as stork add a profile"})
	}
	return found
}

func finished(pod *v1.Pod) bool {
	return pod.Status.Phase == v1.PodSucceeded || pod.Status.Phase == v1.PodFailed
}

func mountsOurs(f *Facts, pod *v1.Pod) bool {
	for _, c := range f.ClaimsOf(pod) {
		if c.Driver != "" {
			return true
		}
	}
	return false
}

// checkKeys finds what users wrote and that means nothing, object by object.
func checkKeys(f *Facts) []Finding {
	var found []Finding
	tell := func(where string, problems []placement.Problem) {
		for _, p := range problems {
			found = append(found, Finding{Level: Warn, Message: fmt.Sprintf("%s: %s=%s %s", where, p.Key, p.Value, p.Detail), Advice: "correct it there"})
		}
	}
	for _, pod := range f.Pods {
		_, problems := placement.PodPolicyOf(pod.Annotations)
		tell("pod "+pod.Namespace+"/"+pod.Name, append(problems, spelling.Misspelt(pod.Annotations)...))
	}
	for _, claim := range f.Claims {
		_, problems := placement.PolicyOf(placement.Traits{}, placement.Sources{Claim: claim.Annotations})
		tell("claim "+claim.Namespace+"/"+claim.Name, append(problems, spelling.Misspelt(claim.Annotations)...))
	}
	for _, class := range f.Classes {
		_, problems := placement.PolicyOf(placement.Traits{}, placement.Sources{Class: class.Parameters})
		tell("StorageClass "+class.Name, append(problems, spelling.Misspelt(class.Parameters)...))
	}
	return found
}

// some names the first of a list.
func some(names []string) string {
	slices.Sort(names)
	text := strings.Join(names[:min(len(names), examples)], ", ")
	if more := len(names) - examples; more > 0 {
		text += fmt.Sprintf(" and %d more", more)
	}
	return text
}
