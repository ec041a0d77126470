package webhook

import (
	"net"
	"slices"
	"testing"

	appsv1 "k8s.io/api/apps/v1"
	"k8s.io/client-go/rest"

	"github.com/hyperconverge/scheduler/internal/sandbox/process"
	"github.com/hyperconverge/scheduler/test/kit"
	"github.com/hyperconverge/scheduler/test/kit/child"
	"github.com/hyperconverge/scheduler/test/kit/controlplane"
)

// binary is the webhook's command, compiled.
var binary = controlplane.Once(func(p controlplane.Process) string { return child.Build(p, p.TempDir(), "cmd/webhook") })

// replica is a process of the webhook.
type replica struct {
	*child.Process
	tb      testing.TB
	token   string
	address string // of the admission endpoint
}

// startReplica runs the binary as the Deployment would, with the rights of the
// given configuration, and flags that a test may want besides.
func startReplica(tb testing.TB, config *rest.Config, deployment *appsv1.Deployment, flags ...string) *replica {
	tb.Helper()
	address, ops := kit.FreeAddress(tb), kit.FreeAddress(tb)
	_, port, err := net.SplitHostPort(address)
	if err != nil {
		tb.Fatal(err)
	}
	container := deployment.Spec.Template.Spec.Containers[0]
	var env []string
	for _, variable := range container.Env {
		value := variable.Value
		if variable.Name == "POD_NAMESPACE" {
			value = deployment.Namespace
		}
		env = append(env, variable.Name+"="+value)
	}
	return &replica{tb: tb, token: config.BearerToken, address: address, Process: child.Run(tb, process.Command{
		Name: "the webhook at " + address, Path: binary(tb), Env: env,
		Args: slices.Concat(container.Args, []string{
			"--kubeconfig=" + controlplane.Kubeconfig(tb, config), "--bind-address=127.0.0.1", "--port=" + port, "--ops-address=" + ops,
		}, flags),
	}, "http://"+ops)}
}

// ready returns why the replica is not ready.
func (r *replica) ready() error {
	if !r.Alive() {
		r.tb.Fatalf("the webhook has ended:\n%s", r.Tail(0, 40))
	}
	_, err := r.Get("/readyz")
	return err
}

// metric returns the sum of a metric over those labels that are given, in the
// order of name and value.
func (r *replica) metric(name string, labels ...string) float64 {
	r.tb.Helper()
	families, err := r.Metrics()
	if err != nil {
		r.tb.Fatal(err)
	}
	sum, _ := families.Sum(name, labels...)
	return sum
}
