package app

import (
	"fmt"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/version"
	"k8s.io/klog/v2/ktesting"

	"github.com/hyperconverge/scheduler/internal/minor"
)

// server says its version.
type server string

// ServerVersion implements discovery.ServerVersionInterface.
func (s server) ServerVersion() (*version.Info, error) {
	return &version.Info{GitVersion: string(s)}, nil
}

func TestTheStartTellsOfAnotherMinor(t *testing.T) {
	for _, tc := range []struct {
		name, version, want string
	}{
		{"an API server that is older", fmt.Sprintf("v1.%d.2-gke.100", minor.Kubernetes-1), fmt.Sprintf("use the build for Kubernetes 1.%d", minor.Kubernetes-1)},
		{"one that is newer", fmt.Sprintf("v1.%d.0", minor.Kubernetes+1), ""},
		{"one that says nothing", "main", ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			logger := ktesting.NewLogger(t, ktesting.NewConfig(ktesting.BufferLogs(true)))
			tellMinor(logger, server(tc.version))
			said := logger.GetSink().(ktesting.Underlier).GetBuffer().String()
			if (said != "") != (tc.want != "") || !strings.Contains(said, tc.want) {
				t.Errorf("%q", said)
			}
		})
	}
}
