package manifests

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/hyperconverge/scheduler/internal/openstoragesim"
	"github.com/hyperconverge/scheduler/test/kit"
)

func replace(old, with string) func(string) string {
	return func(config string) string { return strings.Replace(config, old, with, 1) }
}

func TestWrongConfigurationStopsTheNewPodOnly(t *testing.T) {
	plane := sharedPlane(t)
	objects := build(t, "manifests/base")
	plane.apply(t, objects)
	c := newCluster(t, plane, 3, openstoragesim.ServerOptions{})
	old := plane.startReplica(t, objects, podOptions{name: "the old pod", endpoint: c.Server.Endpoint()})
	old.awaitReady(t)

	for _, tc := range []struct {
		name   string
		change func(string) string
		want   []string
	}{
		{
			name:   "a typo in our arguments is named",
			change: replace("openStorage:", "openStorag:"),
			want:   []string{"profiles[0].pluginConfig[0]", `unknown field "openStorag"`},
		},
		{
			name:   "a typo in kube-scheduler's own settings is named",
			change: replace("leaderElect:", "leaderElects:"),
			want:   []string{`unknown field "leaderElection.leaderElects"`},
		},
		{
			name:   "a value that cannot be is named with its path",
			change: replace("openStorage:", "maxStaleness: 1s\n      openStorage:"),
			want:   []string{"pluginConfig[Hyperconverge].args.maxStaleness", "1s", "must be at least 30s"},
		},
		{
			name:   "an address without port is named with its path",
			change: func(config string) string { return strings.Replace(config, c.Server.Endpoint(), "portworx-api", 1) },
			want:   []string{"openStorage.endpoint", "portworx-api", "must be host:port"},
		},
		{
			name:   "a token that would go over the network in plain text is refused",
			change: replace("openStorage:", "openStorage:\n        tokenFile: /var/run/secrets/openstorage/auth-token"),
			want:   []string{"openStorage.tokenFile", "allowPlaintextToken"},
		},
		{
			name:   "an authority whose file is not there is named with its path",
			change: replace("openStorage:", "openStorage:\n        tls: {enabled: true, caFile: /nowhere/ca.crt}"),
			want:   []string{"pluginConfig[Hyperconverge].args.openStorage.tls.caFile", "/nowhere/ca.crt"},
		},
		{
			name:   "a plugin that does not exist is named",
			change: replace("- name: Hyperconverge\n        weight", "- name: Hyperconverged\n        weight"),
			want:   []string{"Hyperconverged"},
		},
	} {
		t.Run(tc.name, func(t *testing.T) {
			replica := plane.startReplica(t, objects, podOptions{name: "the new pod", endpoint: c.Server.Endpoint(), change: tc.change})
			death, err := replica.Death(kit.Patience)
			if err != nil {
				t.Fatal(err)
			}
			if death.Status != "exit status 1" {
				t.Errorf("it has ended with %s", death.Status)
			}
			complaint := onlyError(t, replica.Said(0))
			for _, want := range tc.want {
				if !strings.Contains(complaint, want) {
					t.Errorf("it says %q, want %q in it", complaint, want)
				}
			}
		})
	}

	c.Volume("data", "n3")
	c.Create(c.pod("after", schedulerName, "data"))
	c.ExpectNode("after", "n3")
}

// onlyError is the error in the last of the lines that a process has logged; the
// lines before it tell of no other.
func onlyError(t *testing.T, output string) string {
	t.Helper()
	complaint := ""
	for line := range strings.Lines(output) {
		var entry struct{ Err string }
		if err := json.Unmarshal([]byte(line), &entry); err != nil {
			t.Fatalf("a line is no JSON: %v: %s", err, line)
		}
		if complaint != "" {
			t.Fatalf("the error is not the last line:\n%s", output)
		}
		complaint = entry.Err
	}
	return complaint
}
