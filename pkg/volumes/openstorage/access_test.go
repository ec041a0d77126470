package openstorage

import (
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"

	"github.com/hyperconverge/scheduler/pkg/volumes"
)

func TestWhatTheTokenShowsIsCompared(t *testing.T) {
	tests := []struct {
		name  string
		check accessCheck
		want  string
	}{
		{"nothing can be compared", accessCheck{followed: 3}, ""},
		{"all is shown", accessCheck{followed: 3, checkable: 3, visible: 3, shown: 9}, ""},
		{"nothing is shown", accessCheck{followed: 3, checkable: 3}, ReasonTokenBlind},
		{"only others are shown", accessCheck{followed: 3, checkable: 3, shown: 9}, ReasonForeignCluster},
		{"some of a few are shown", accessCheck{followed: 49, checkable: 49, visible: 1, shown: 1}, ""},
		{"much less than all are shown", accessCheck{followed: 1000, checkable: 1000, visible: 899, shown: 5000}, ReasonShowsTooFew},
		{"nearly all are shown", accessCheck{followed: 1000, checkable: 1000, visible: 900, shown: 900}, ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			got := test.check.condition("storage:9020")
			if got.Reason != test.want || (got.Reason == "") != (got.Message == "") || (got.Reason == "") != (got.Advice == "") {
				t.Errorf("condition is %+v, want %q", got, test.want)
			}
		})
	}
}

func TestTokenIsRefusedAsLongAsOneOfTheListsIs(t *testing.T) {
	s := newSource(Config{}.withDefaults(), volumes.NewIndex(volumes.Options{}))
	no := status.Error(codes.PermissionDenied, "no")
	is := func(want bool, when string) {
		t.Helper()
		if s.health.has(ReasonTokenRefused) != want {
			t.Errorf("%s the token counts as refused: %v, want %v", when, !want, want)
		}
	}
	s.health.observeVolumes(refused, no)
	is(true, "when volumes are not listed")
	s.health.observeNodes(answered, nil)
	is(true, "when nodes are listed and volumes are not")
	s.health.observeVolumes(failed, status.Error(codes.Internal, "oops"))
	is(true, "when it cannot be told")
	s.health.observeNodes(refused, no)
	s.health.observeVolumes(answered, nil)
	is(true, "when volumes are listed and nodes are not")
	if len(s.verify) != 0 {
		t.Error("volumes are inspected with a token that is refused")
	}
	s.health.observeNodes(answered, nil)
	is(false, "when both are listed")
}

// TestRecovery tells what is done when a problem is over.
func TestRecovery(t *testing.T) {
	no := status.Error(codes.Internal, "no")
	tests := []struct {
		name           string
		ends           func(s *Source)
		verify, reopen int
	}{
		{"no problem", func(s *Source) { s.health.observeNodes(answered, nil) }, 0, 0},
		{"storage failed altogether", func(s *Source) {
			s.health.observeNodes(failed, no)
			s.health.observeNodes(answered, nil)
		}, 1, 0},
		{"the token was refused", func(s *Source) {
			s.health.observeNodes(refused, no)
			s.health.observeNodes(answered, nil)
		}, 1, 1},
		{"the token was refused by a storage system that failed later", func(s *Source) {
			s.health.observeNodes(refused, no)
			s.health.observeNodes(failed, no)
			s.health.observeNodes(answered, nil)
		}, 1, 1},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			s := newSource(Config{}.withDefaults(), volumes.NewIndex(volumes.Options{}))
			test.ends(s)
			if len(s.verify) != test.verify || len(s.reopen) != test.reopen {
				t.Errorf("volumes are verified: %d, want %d; the watch is opened anew: %d, want %d",
					len(s.verify), test.verify, len(s.reopen), test.reopen)
			}
			if p := s.Conditions(); len(p) > 0 {
				t.Errorf("%v remains", p)
			}
		})
	}
}

// A volume that is deleted is gone from storage a moment before its PersistentVolume is:
// that must alarm nobody.
func TestTheLastVolumeIsDeleted(t *testing.T) {
	r := start(t, settings{tune: func(s *Source) { s.timing.accessRecheck = time.Second }})
	id := r.volume("data", "node-1")
	r.addPV(pvOf("pv", id))
	r.eventuallyOn(id, "node-1")
	r.must(r.cluster.DeleteVolume(id))
	checked := make(chan struct{})
	go func() {
		defer close(checked)
		r.source.checkTokenAccess(klog.NewContext(t.Context(), r.logger()))
	}()
	r.eventually("storage shows nothing of what Kubernetes has", func() bool { return r.logged("kubernetes=1 checkable=1 storage=0") })
	r.must(r.kube.CoreV1().PersistentVolumes().Delete(t.Context(), "pv", metav1.DeleteOptions{}))
	<-checked
	if r.source.health.has(ReasonTokenBlind) || r.logged("StorageShowsNothing") {
		t.Error("the token is said to show nothing")
	}
}
