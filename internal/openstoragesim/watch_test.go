package openstoragesim

import (
	"slices"
	"strconv"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/libopenstorage/openstorage/api"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/testing/protocmp"
)

// recv returns the next volumes of the stream.
func recv(t testing.TB, stream api.OpenStorageWatch_WatchClient, count int) []*api.Volume {
	t.Helper()
	var volumes []*api.Volume
	for range count {
		response, err := stream.Recv()
		if err != nil {
			t.Fatalf("after %d of %d messages: %v", len(volumes), count, err)
		}
		v := response.GetVolumeEvent().GetVolume()
		if response.GetVolumeEvent().GetName() != v.GetLocator().GetName() {
			t.Errorf("event of %q carries volume %q", response.GetVolumeEvent().GetName(), v.GetLocator().GetName())
		}
		volumes = append(volumes, v)
	}
	return volumes
}

// step makes a change that can be told from all others, and steps reads it back.
func step(t testing.TB, c *Cluster, volume string, number int) {
	t.Helper()
	if err := c.SetLabels(volume, map[string]string{"step": strconv.Itoa(number)}); err != nil {
		t.Fatal(err)
	}
}

func steps(volumes []*api.Volume) []string {
	var labels []string
	for _, v := range volumes {
		labels = append(labels, v.GetLocator().GetVolumeLabels()["step"])
	}
	return labels
}

// watched is a cluster with one volume "v" and an open watch that has shown it.
func watched(t *testing.T, options ServerOptions) (*Cluster, *Server, api.OpenStorageWatch_WatchClient) {
	t.Helper()
	c := newCluster(t, 3)
	if _, err := c.CreateVolume(CreateRequest{Name: "v"}); err != nil {
		t.Fatal(err)
	}
	s := start(t, c, options)
	stream := openWatch(t, dial(t, s.Endpoint()))
	recv(t, stream, 1)
	return c, s, stream
}

func TestWatchDumpsThenFollows(t *testing.T) {
	c, s, stream := watched(t, ServerOptions{})
	if s.OpenWatches() != 1 {
		t.Errorf("%d open watches", s.OpenWatches())
	}
	v2, err := c.CreateVolume(CreateRequest{Name: "v2"})
	if err != nil {
		t.Fatal(err)
	}
	if err := c.Attach("v", "n001"); err != nil {
		t.Fatal(err)
	}
	v, err := c.Volume("v")
	if err != nil {
		t.Fatal(err)
	}
	if err := c.DeleteVolume("v2"); err != nil {
		t.Fatal(err)
	}
	got := recv(t, stream, 3)
	if diff := cmp.Diff([]*api.Volume{v2, v}, got[:2], protocmp.Transform()); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	if got[2].GetId() != v2.GetId() || got[2].GetState() != api.VolumeState_VOLUME_STATE_DELETED {
		t.Errorf("the deletion shows as %v", got[2])
	}
}

func TestWatchIgnoresItsFilter(t *testing.T) {
	c := newCluster(t, 1)
	if _, err := c.CreateVolume(CreateRequest{Name: "v", Labels: map[string]string{"a": "1"}}); err != nil {
		t.Fatal(err)
	}
	cl := dial(t, start(t, c, ServerOptions{}).Endpoint())
	stream, err := cl.watch.Watch(t.Context(), &api.SdkWatchRequest{EventType: &api.SdkWatchRequest_VolumeEvent{
		VolumeEvent: &api.SdkVolumeWatchRequest{Labels: map[string]string{"a": "2"}},
	}})
	wantCode(t, err, codes.OK)
	recv(t, stream, 1)
}

func TestWatchOfNothingIsRefused(t *testing.T) {
	cl := dial(t, start(t, newCluster(t, 1), ServerOptions{}).Endpoint())
	stream, err := cl.watch.Watch(t.Context(), &api.SdkWatchRequest{})
	wantCode(t, err, codes.OK)
	_, err = stream.Recv()
	wantCode(t, err, codes.InvalidArgument)
}

func TestASubscriptionLosesWhatDoesNotFit(t *testing.T) {
	c := newCluster(t, 1)
	if _, err := c.CreateVolume(CreateRequest{Name: "v"}); err != nil {
		t.Fatal(err)
	}
	events, stop := c.Subscribe(3)
	defer stop()
	for i := range 5 {
		step(t, c, "v", i)
	}
	if n := len(events); n != 3 {
		t.Fatalf("%d events wait, want 3", n)
	}
	got := []*api.Volume{<-events, <-events, <-events}
	if diff := cmp.Diff([]string{"0", "1", "2"}, steps(got)); diff != "" {
		t.Errorf("events (-want +got):\n%s", diff)
	}
	stop()
	step(t, c, "v", 9)
	if len(events) != 0 {
		t.Error("a subscription that was stopped goes on")
	}
}

// A slow client's stream goes on, but what its buffer could not hold is gone.
func TestSlowWatchLosesEvents(t *testing.T) {
	const burst = 5000 // far more than the buffer and the connection hold
	c := newCluster(t, 1)
	must(t, c.Fill(1, nil))
	volume := slices.Collect(c.Volumes())[0].GetId()
	s := start(t, c, ServerOptions{})
	// Windows of a given size stay that size.
	stream := openWatch(t, dial(t, s.Endpoint(), grpc.WithTransportCredentials(insecure.NewCredentials()),
		grpc.WithInitialWindowSize(1<<16), grpc.WithInitialConnWindowSize(1<<16)))
	recv(t, stream, 1)
	for i := range burst {
		step(t, c, volume, i)
	}
	// Either the buffer is full, or it has room for the change that is made
	// now: in both cases there is something to receive.
	for received := 0; ; received++ {
		step(t, c, volume, burst)
		if steps(recv(t, stream, 1))[0] == strconv.Itoa(burst) {
			if received < watchBuffer || received > burst/2 {
				t.Errorf("received %d of %d events", received, burst)
			}
			return
		}
	}
}

func TestWatchFaults(t *testing.T) {
	tests := []struct {
		name   string
		faults WatchFaults
		want   []string // of steps 0 to 5 under the fault and 6 after it
	}{
		{name: "no fault", want: []string{"0", "1", "2", "3", "4", "5", "6"}},
		{name: "all events dropped", faults: WatchFaults{Drop: 1}, want: []string{"6"}},
		{
			name:   "all events duplicated",
			faults: WatchFaults{Duplicate: 1},
			want:   []string{"0", "0", "1", "1", "2", "2", "3", "3", "4", "4", "5", "5", "6"},
		},
		{
			name:   "events reordered, the rest sent when the fault ends",
			faults: WatchFaults{Reorder: 4},
			want:   []string{"3", "2", "1", "0", "4", "5", "6"},
		},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			c, s, stream := watched(t, ServerOptions{})
			if err := s.SetFaults(Faults{Watch: test.faults}); err != nil {
				t.Fatal(err)
			}
			for i := range 6 {
				step(t, c, "v", i)
			}
			if err := s.SetFaults(Faults{}); err != nil {
				t.Fatal(err)
			}
			step(t, c, "v", 6)
			if diff := cmp.Diff(test.want, steps(recv(t, stream, len(test.want)))); diff != "" {
				t.Errorf("events (-want +got):\n%s", diff)
			}
		})
	}

	t.Run("a share of events dropped, the same ones every time", func(t *testing.T) {
		var runs [2][]string
		for i := range runs {
			c, s, stream := watched(t, ServerOptions{})
			if err := s.SetFaults(Faults{Watch: WatchFaults{Drop: 0.5}}); err != nil {
				t.Fatal(err)
			}
			for i := range 50 {
				step(t, c, "v", i)
			}
			if err := s.SetFaults(Faults{}); err != nil {
				t.Fatal(err)
			}
			step(t, c, "v", 50)
			for len(runs[i]) == 0 || runs[i][len(runs[i])-1] != "50" {
				runs[i] = append(runs[i], steps(recv(t, stream, 1))...)
			}
		}
		if diff := cmp.Diff(runs[0], runs[1]); diff != "" {
			t.Errorf("two runs (-first +second):\n%s", diff)
		}
		if n := len(runs[0]); n < 10 || n > 42 {
			t.Errorf("%d of 50 events arrived", n-1)
		}
	})

	t.Run("what is held back is sent when the fault ends", func(t *testing.T) {
		c, s, stream := watched(t, ServerOptions{})
		must(t, s.SetFaults(Faults{Watch: WatchFaults{Reorder: 3}}))
		step(t, c, "v", 1)
		must(t, s.SetFaults(Faults{}))
		if diff := cmp.Diff([]string{"1"}, steps(recv(t, stream, 1))); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
	})

	t.Run("deletions hidden", func(t *testing.T) {
		c, s, stream := watched(t, ServerOptions{})
		if _, err := c.CreateVolume(CreateRequest{Name: "w"}); err != nil {
			t.Fatal(err)
		}
		recv(t, stream, 1)
		if err := s.SetFaults(Faults{Watch: WatchFaults{HideDeletes: true}}); err != nil {
			t.Fatal(err)
		}
		if err := c.DeleteVolume("w"); err != nil {
			t.Fatal(err)
		}
		step(t, c, "v", 1)
		if diff := cmp.Diff([]string{"1"}, steps(recv(t, stream, 1))); diff != "" {
			t.Errorf("events (-want +got):\n%s", diff)
		}
	})

	t.Run("streams cut after a number of messages, in the dump too", func(t *testing.T) {
		c := newCluster(t, 1)
		if err := c.Fill(10, nil); err != nil {
			t.Fatal(err)
		}
		s := start(t, c, ServerOptions{})
		if err := s.SetFaults(Faults{Watch: WatchFaults{CutAfter: 4}}); err != nil {
			t.Fatal(err)
		}
		stream := openWatch(t, dial(t, s.Endpoint()))
		recv(t, stream, 4)
		_, err := stream.Recv()
		wantCode(t, err, codes.Unavailable)
	})

	t.Run("streams cut now", func(t *testing.T) {
		_, s, stream := watched(t, ServerOptions{})
		if cut := s.CutWatches(); cut != 1 {
			t.Errorf("cut %d streams", cut)
		}
		_, err := stream.Recv()
		wantCode(t, err, codes.Unavailable)
	})

	t.Run("the dump hides what lists hide, events go on", func(t *testing.T) {
		c := newCluster(t, 1)
		if err := c.Fill(100, nil); err != nil {
			t.Fatal(err)
		}
		s := start(t, c, ServerOptions{})
		if err := s.SetFaults(Faults{HideVolumes: 0.5}); err != nil {
			t.Fatal(err)
		}
		cl := dial(t, s.Endpoint())
		list, err := cl.volumes.Enumerate(t.Context(), &api.SdkVolumeEnumerateRequest{})
		wantCode(t, err, codes.OK)
		if n := len(list.GetVolumeIds()); n < 30 || n > 70 {
			t.Errorf("%d of 100 volumes are listed", n)
		}
		stream := openWatch(t, cl)
		var dumped []string
		for _, v := range recv(t, stream, len(list.GetVolumeIds())) {
			dumped = append(dumped, v.GetId())
		}
		if diff := cmp.Diff(list.GetVolumeIds(), dumped); diff != "" {
			t.Errorf("dump (-list +dump):\n%s", diff)
		}
		for v := range c.Volumes() {
			if !slices.Contains(dumped, v.GetId()) {
				step(t, c, v.GetId(), 1)
				break
			}
		}
		if diff := cmp.Diff([]string{"1"}, steps(recv(t, stream, 1))); diff != "" {
			t.Errorf("event of a hidden volume (-want +got):\n%s", diff)
		}
	})
}
