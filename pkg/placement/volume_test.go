package placement_test

import (
	"testing"

	"github.com/hyperconverge/scheduler/pkg/placement"
)

func TestHeldBy(t *testing.T) {
	tests := []struct {
		name   string
		volume volume
		want   string
	}{
		{"a node with a replica of the only set", near("A@{1,3}"), "n1 n3"},
		{"a node must hold a replica of every set", near("A@{1,2}{2,3}{2}"), "n2"},
		{"a set without holders leaves no node that holds the whole volume", near("A@{1,2}{}"), ""},
		{"a volume without sets is held by no node", near("A"), ""},
		{"a replica without a Kubernetes node is held by no node", near("A@{?Online}"), ""},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			c := newCluster(t, []string{"", "", "Offline"})
			v := c.volume(t, tc.volume)
			var held []*placement.Node
			for _, n := range c.nodes {
				if v.HeldBy(n) {
					held = append(held, n)
				}
			}
			if got := names(held); got != tc.want {
				t.Errorf("held by %q, want %q", got, tc.want)
			}
			if v.HeldBy(nil) {
				t.Error("held by a node that storage knows nothing about")
			}
		})
	}
}
