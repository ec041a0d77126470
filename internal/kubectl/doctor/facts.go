// Package doctor finds what keeps a cluster from having its pods on their data: before
// the scheduler is used, and while it is.
package doctor

import (
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	v1 "k8s.io/api/core/v1"
	discoveryv1 "k8s.io/api/discovery/v1"
	storagev1 "k8s.io/api/storage/v1"
	schedulerapi "k8s.io/kubernetes/pkg/scheduler/apis/config"

	"github.com/hyperconverge/scheduler/pkg/claims"
	"github.com/hyperconverge/scheduler/pkg/debug"
)

// Facts are what the checks look at. What could not be read is nil, and Unreadable says
// why.
type Facts struct {
	Now time.Time
	// Namespace is that of scheduler and webhook.
	Namespace string
	// Versions as programs say them: v1.35.4+hyperconverge.v0.1.0. Empty if not known.
	ServerVersion, SchedulerVersion, PluginVersion string

	// State is what the scheduler, or a client of the storage API in its place, knows.
	State *debug.State
	// Configuration is that of the scheduler; Assumed says that it is the default one,
	// because the real one could not be read.
	Configuration *schedulerapi.KubeSchedulerConfiguration
	Assumed       bool

	Deployments []appsv1.Deployment // of the namespace
	// Webhooks are all mutating webhooks of the cluster; Endpoints those of the webhook's
	// service.
	Webhooks  []admissionregistrationv1.MutatingWebhookConfiguration
	Endpoints []discoveryv1.EndpointSlice
	Pods      []*v1.Pod
	Claims    []*v1.PersistentVolumeClaim
	Classes   []*storagev1.StorageClass
	// ClaimsOf are the claims of a pod.
	ClaimsOf func(*v1.Pod) []claims.Claim
	// Denied are the rights that the scheduler's account lacks, in words.
	Denied []string
	// Batching says for each profile why pods without volumes are not placed in batches;
	// empty if they are.
	Batching map[string]string
	// Unreadable says what could not be read, by the check that needed it.
	Unreadable map[string]string
}

// Level says how bad a finding is.
type Level string

const (
	// Fail is something that keeps pods off their data, or will.
	Fail Level = "fail"
	// Warn is something to look at.
	Warn Level = "warn"
	// Pass is a check that has found nothing.
	Pass Level = "pass"
	// Unknown is a check that could not be made.
	Unknown Level = "unknown"
)

// Finding is what a check has found. As JSON it is an interface: fields are only added.
type Finding struct {
	Check   string `json:"check"`
	Level   Level  `json:"level"`
	Message string `json:"message"`
	// Advice is what to do about it; empty if it passed.
	Advice string `json:"advice,omitempty"`
}

// Report is the document of doctor.
type Report struct {
	APIVersion string    `json:"apiVersion"`
	Kind       string    `json:"kind"` // DoctorReport
	Findings   []Finding `json:"findings"`
}

// Healthy reports whether nothing has failed and nothing warns. A check that could not
// be made is no finding.
func (r *Report) Healthy() bool {
	for _, f := range r.Findings {
		if f.Level == Fail || f.Level == Warn {
			return false
		}
	}
	return true
}
