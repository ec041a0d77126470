package openstoragesim

import (
	"context"
	"encoding/json"
	"errors"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/libopenstorage/openstorage/api"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

func TestCallFaults(t *testing.T) {
	tests := []struct {
		name      string
		calls     map[string]CallFault
		enumerate codes.Code // of Volume.Enumerate
		inspect   codes.Code // of Volume.Inspect
		nodes     codes.Code // of Node.EnumerateWithFilters
	}{
		{name: "no fault"},
		{
			name:      "a method goes wrong alone",
			calls:     map[string]CallFault{"Volume.Enumerate": {Code: codes.Internal}},
			enumerate: codes.Internal,
		},
		{
			name:      "a service goes wrong as a whole",
			calls:     map[string]CallFault{"Volume.*": {Code: codes.Unimplemented}},
			enumerate: codes.Unimplemented, inspect: codes.Unimplemented,
		},
		{
			name:      "an outage is everything",
			calls:     Outage().Calls,
			enumerate: codes.Unavailable, inspect: codes.Unavailable, nodes: codes.Unavailable,
		},
		{
			name: "the most specific fault counts alone",
			calls: map[string]CallFault{
				"*": {Code: codes.Unavailable}, "Volume.*": {Code: codes.Internal}, "Volume.Inspect": {},
			},
			enumerate: codes.Internal, nodes: codes.Unavailable,
		},
		{
			name:      "latency beyond the deadline is a timeout",
			calls:     map[string]CallFault{"Volume.Enumerate": {Latency: time.Hour}},
			enumerate: codes.DeadlineExceeded,
		},
		{
			name:      "a call that hangs is a timeout",
			calls:     map[string]CallFault{"Volume.Enumerate": {Hang: true}},
			enumerate: codes.DeadlineExceeded,
		},
		{
			name:      "latency comes before the answer",
			calls:     map[string]CallFault{"Volume.Enumerate": {Latency: time.Millisecond, Code: codes.Aborted}},
			enumerate: codes.Aborted,
		},
	}
	c := newCluster(t, 1)
	v, err := c.CreateVolume(CreateRequest{Name: "v"})
	if err != nil {
		t.Fatal(err)
	}
	s := start(t, c, ServerOptions{})
	cl := dial(t, s.Endpoint())
	// The first call connects, which the short deadlines below shall not include.
	must(t, cl.ping(t.Context()))
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if err := s.SetFaults(Faults{Calls: test.calls}); err != nil {
				t.Fatal(err)
			}
			ctx := t.Context()
			if test.enumerate == codes.DeadlineExceeded {
				var cancel context.CancelFunc
				ctx, cancel = context.WithTimeout(ctx, 50*time.Millisecond)
				defer cancel()
			}
			_, err := cl.volumes.Enumerate(ctx, &api.SdkVolumeEnumerateRequest{})
			wantCode(t, err, test.enumerate)
			_, err = cl.volumes.Inspect(t.Context(), &api.SdkVolumeInspectRequest{VolumeId: v.GetId()})
			wantCode(t, err, test.inspect)
			wantCode(t, cl.ping(t.Context()), test.nodes)
		})
	}

	t.Run("an older server does not know Watch", func(t *testing.T) {
		if err := s.SetFaults(Faults{Calls: map[string]CallFault{"Watch.Watch": {Code: codes.Unimplemented}}}); err != nil {
			t.Fatal(err)
		}
		_, err := openWatch(t, cl).Recv()
		wantCode(t, err, codes.Unimplemented)
		_, err = cl.volumes.Enumerate(t.Context(), &api.SdkVolumeEnumerateRequest{})
		wantCode(t, err, codes.OK)
	})
}

func TestListFaults(t *testing.T) {
	c := newCluster(t, 100)
	if err := c.Fill(100, nil); err != nil {
		t.Fatal(err)
	}
	s := start(t, c, ServerOptions{})
	cl := dial(t, s.Endpoint())
	lists := func(t *testing.T) (volumes, nodes []string) {
		t.Helper()
		list, err := cl.volumes.Enumerate(t.Context(), &api.SdkVolumeEnumerateRequest{})
		wantCode(t, err, codes.OK)
		full, err := cl.volumes.InspectWithFilters(t.Context(), &api.SdkVolumeInspectWithFiltersRequest{})
		wantCode(t, err, codes.OK)
		for i, v := range full.GetVolumes() {
			if v.GetVolume().GetId() != list.GetVolumeIds()[i] {
				t.Fatal("the two lists of volumes differ")
			}
		}
		nodeList, err := cl.nodes.EnumerateWithFilters(t.Context(), &api.SdkNodeEnumerateWithFiltersRequest{})
		wantCode(t, err, codes.OK)
		for _, n := range nodeList.GetNodes() {
			nodes = append(nodes, n.GetId())
		}
		return list.GetVolumeIds(), nodes
	}

	tests := []struct {
		name                   string
		faults                 Faults
		minVolumes, maxVolumes int
		minNodes, maxNodes     int
		minFound               int
		maxFound               int
	}{
		{name: "no fault", minVolumes: 100, maxVolumes: 100, minNodes: 100, maxNodes: 100, minFound: 100, maxFound: 100},
		{name: "an empty list of volumes", faults: Faults{HideVolumes: 1}, minNodes: 100, maxNodes: 100, minFound: 100, maxFound: 100},
		{name: "a short list of volumes", faults: Faults{HideVolumes: 0.3}, minVolumes: 55, maxVolumes: 85, minNodes: 100, maxNodes: 100, minFound: 100, maxFound: 100},
		{name: "an empty list of nodes", faults: Faults{HideNodes: 1}, minVolumes: 100, maxVolumes: 100, minFound: 100, maxFound: 100},
		{name: "a short list of nodes", faults: Faults{HideNodes: 0.3}, minVolumes: 100, maxVolumes: 100, minNodes: 55, maxNodes: 85, minFound: 100, maxFound: 100},
		{name: "inspection finds nothing", faults: Faults{LoseVolumes: 1}, minVolumes: 100, maxVolumes: 100, minNodes: 100, maxNodes: 100},
		{name: "inspection finds some", faults: Faults{LoseVolumes: 0.3}, minVolumes: 100, maxVolumes: 100, minNodes: 100, maxNodes: 100, minFound: 55, maxFound: 85},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			if err := s.SetFaults(test.faults); err != nil {
				t.Fatal(err)
			}
			volumes, nodes := lists(t)
			if n := len(volumes); n < test.minVolumes || n > test.maxVolumes {
				t.Errorf("%d volumes are listed", n)
			}
			if n := len(nodes); n < test.minNodes || n > test.maxNodes {
				t.Errorf("%d nodes are listed", n)
			}
			found := 0
			for v := range c.Volumes() {
				if _, err := cl.volumes.Inspect(t.Context(), &api.SdkVolumeInspectRequest{VolumeId: v.GetId()}); err == nil {
					found++
				} else {
					wantCode(t, err, codes.NotFound)
				}
			}
			if found < test.minFound || found > test.maxFound {
				t.Errorf("%d volumes are found by Inspect", found)
			}
			again, nodesAgain := lists(t)
			if !cmp.Equal(volumes, again) || !cmp.Equal(nodes, nodesAgain) {
				t.Error("the second time other ones are hidden")
			}
		})
	}
}

func TestFaultsThatMakeNoSense(t *testing.T) {
	s := NewServer(NewCluster(Options{}), ServerOptions{})
	for name, faults := range map[string]Faults{
		"hideVolumes":     {HideVolumes: 1.5},
		"hideNodes":       {HideNodes: -0.1},
		"loseVolumes":     {LoseVolumes: 2},
		"watch.drop":      {Watch: WatchFaults{Drop: 7}},
		"watch.duplicate": {Watch: WatchFaults{Duplicate: -1}},
		"watch.reorder":   {Watch: WatchFaults{Reorder: -1}},
		"watch.cutAfter":  {Watch: WatchFaults{CutAfter: -1}},
		"Volume.Inspekt":  {Calls: map[string]CallFault{"Volume.Inspekt": {}}},
		"Volume*":         {Calls: map[string]CallFault{"Volume*": {}}},
		"Disk.*":          {Calls: map[string]CallFault{"Disk.*": {}}},
		"latency":         {Calls: map[string]CallFault{"*": {Latency: -1}}},
	} {
		if err := s.SetFaults(faults); !errors.Is(err, ErrInvalid) || !strings.Contains(err.Error(), name) {
			t.Errorf("%s: %v, want ErrInvalid that names it", name, err)
		}
	}
	if diff := cmp.Diff(Faults{}, s.Faults()); diff != "" {
		t.Errorf("refused faults were set:\n%s", diff)
	}
}

func TestFaultsAsJSON(t *testing.T) {
	faults := Faults{
		Calls: map[string]CallFault{
			"Volume.Inspect": {Latency: 250 * time.Millisecond},
			"Watch.Watch":    {Code: codes.Unimplemented},
			"Node.*":         {Hang: true, Code: codes.DeadlineExceeded},
		},
		HideVolumes: 0.5,
		Watch:       WatchFaults{Drop: 0.1, Reorder: 3},
	}
	data, err := json.Marshal(faults)
	if err != nil {
		t.Fatal(err)
	}
	want := `{"calls":{` +
		`"Node.*":{"hang":true,"code":"DEADLINE_EXCEEDED"},` +
		`"Volume.Inspect":{"latency":"250ms"},` +
		`"Watch.Watch":{"code":"UNIMPLEMENTED"}},` +
		`"hideVolumes":0.5,"watch":{"drop":0.1,"reorder":3}}`
	if diff := cmp.Diff(want, string(data)); diff != "" {
		t.Errorf("JSON (-want +got):\n%s", diff)
	}
	var read Faults
	if err := json.Unmarshal(data, &read); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(faults, read); diff != "" {
		t.Errorf("read back (-want +got):\n%s", diff)
	}
	for _, text := range []string{`{"code":"BROKEN"}`, `{"latency":"soon"}`, `{"latncy":"1s"}`, `{"hang":1}`} {
		var fault CallFault
		if err := json.Unmarshal([]byte(text), &fault); err == nil {
			t.Errorf("%s was read as %+v", text, fault)
		}
	}
}

func TestFaultsAreReadStrictly(t *testing.T) {
	for name, text := range map[string]string{
		"an unknown field":    `{"hideVolume":1}`,
		"two values":          `{"hideVolumes":1} {}`,
		"no value":            ``,
		"another type":        `[]`,
		"a code that is none": `{"calls":{"*":{"code":"BROKEN"}}}`,
	} {
		if faults, err := ParseFaults(text); err == nil {
			t.Errorf("%s: read as %+v", name, faults)
		}
	}
	faults, err := ParseFaults(`{"hideVolumes":0.5}`)
	if err != nil || faults.HideVolumes != 0.5 {
		t.Errorf("read %+v, %v", faults, err)
	}
}

func TestEveryCodeHasItsName(t *testing.T) {
	for code := codes.OK; code <= codes.Unauthenticated; code++ {
		// grpc itself reads the names that the protocol's documentation uses.
		var read codes.Code
		if err := read.UnmarshalJSON([]byte(strconv.Quote(codeName(code)))); err != nil || read != code {
			t.Errorf("%s is called %s: %v", code, codeName(code), err)
		}
		if read, err := parseCode(codeName(code)); err != nil || read != code {
			t.Errorf("%s is read as %s, %v", codeName(code), read, err)
		}
	}
}

func TestCallsAreCounted(t *testing.T) {
	s := start(t, newCluster(t, 1), ServerOptions{})
	cl := dial(t, s.Endpoint())
	if err := s.SetFaults(Faults{Calls: map[string]CallFault{"Node.*": {Code: codes.Unavailable}}}); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		wantCode(t, cl.ping(t.Context()), codes.Unavailable)
	}
	_, err := cl.volumes.Enumerate(t.Context(), &api.SdkVolumeEnumerateRequest{})
	wantCode(t, err, codes.OK)

	want := map[string]int{"Node.EnumerateWithFilters": 2, "Volume.Enumerate": 1}
	for _, reset := range []bool{false, true} {
		if diff := cmp.Diff(want, s.Calls(reset)); diff != "" {
			t.Errorf("calls (-want +got):\n%s", diff)
		}
	}
	if calls := s.Calls(false); len(calls) != 0 {
		t.Errorf("after the reset: %v", calls)
	}
}

func TestMethodsAreTheOnesThatAreServed(t *testing.T) {
	s := start(t, newCluster(t, 1), ServerOptions{})
	cl := dial(t, s.Endpoint())
	for _, method := range methods {
		service, call, _ := strings.Cut(method, ".")
		full := "/openstorage.api.OpenStorage" + service + "/" + call
		if got := MethodName(full); got != method {
			t.Errorf("%s is called %s", full, got)
		}
		// An empty message is a request of every kind.
		err := cl.Invoke(t.Context(), full, &api.SdkVolumeEnumerateRequest{}, &api.SdkVolumeEnumerateResponse{})
		if status.Code(err) == codes.Unimplemented {
			t.Errorf("%s: %v", method, err)
		}
	}
	_, err := cl.volumes.Stats(t.Context(), &api.SdkVolumeStatsRequest{})
	wantCode(t, err, codes.Unimplemented)
}
