package app

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"k8s.io/apimachinery/pkg/version"
	"k8s.io/klog/v2"
	"k8s.io/klog/v2/ktesting"

	"github.com/hyperconverge/scheduler/internal/minor"
)

// server says its version, after some failures.
type server struct {
	version.Info
	failures int
}

// ServerVersion implements discovery.ServerVersionInterface.
func (s *server) ServerVersion() (*version.Info, error) {
	if s.failures--; s.failures >= 0 {
		return nil, errors.New("nobody answers")
	}
	return &s.Info, nil
}

func TestTheStartTellsOfAnotherMinor(t *testing.T) {
	older := fmt.Sprintf("v1.%d.2-gke.100", minor.Kubernetes-1)
	fault := fmt.Sprintf("the scheduler is of Kubernetes 1.%d, the API server of 1.%d", minor.Kubernetes, minor.Kubernetes-1)
	for _, tc := range []struct {
		name   string
		server server
		want   string
	}{
		{"an API server that is older", server{Info: version.Info{GitVersion: older}}, fault},
		{"one that does not answer at first", server{Info: version.Info{GitVersion: older}, failures: 2}, fault},
		{"one that emulates an older one", server{Info: version.Info{GitVersion: fmt.Sprintf("v1.%d.0", minor.Kubernetes), EmulationMinor: strconv.Itoa(int(minor.Kubernetes - 1))}}, fault},
		{"one that emulates nothing", server{Info: version.Info{GitVersion: fmt.Sprintf("v1.%d.0", minor.Kubernetes), EmulationMinor: strconv.Itoa(int(minor.Kubernetes))}}, ""},
		{"one that is newer", server{Info: version.Info{GitVersion: fmt.Sprintf("v1.%d.0", minor.Kubernetes+1)}}, ""},
		{"one that says nothing", server{Info: version.Info{GitVersion: "main"}}, ""},
		{"one that is built without a version", server{Info: version.Info{GitVersion: "v0.0.0-master+$Format:%H$"}}, ""},
	} {
		t.Run(tc.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				logger := ktesting.NewLogger(t, ktesting.NewConfig(ktesting.BufferLogs(true)))
				begun := time.Now()
				failures := tc.server.failures
				tellMinor(klog.NewContext(t.Context(), logger), &tc.server)
				if took := time.Since(begun); took != time.Duration(failures)*askAgain {
					t.Errorf("it took %v with %d failures", took, failures)
				}
				said := logger.GetSink().(ktesting.Underlier).GetBuffer().String()
				if (said != "") != (tc.want != "") || !strings.Contains(said, tc.want) {
					t.Errorf("%q", said)
				}
			})
		})
	}
}
