package openstorage

import (
	"context"
	"strings"
	"testing"

	"github.com/libopenstorage/openstorage/api"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"k8s.io/klog/v2/textlogger"

	"github.com/hyperconverge/scheduler/pkg/volumes"
)

// idsOnly is a server whose Inspect takes no names, and whose lists match names
// loosely.
type idsOnly struct{ api.OpenStorageVolumeClient }

func (idsOnly) Inspect(_ context.Context, request *api.SdkVolumeInspectRequest, _ ...grpc.CallOption) (*api.SdkVolumeInspectResponse, error) {
	if request.VolumeId != "1" {
		return nil, status.Error(codes.NotFound, "no such id")
	}
	return &api.SdkVolumeInspectResponse{Volume: &api.Volume{Id: "1"}}, nil
}

func (idsOnly) InspectWithFilters(context.Context, *api.SdkVolumeInspectWithFiltersRequest, ...grpc.CallOption) (*api.SdkVolumeInspectWithFiltersResponse, error) {
	volume := func(id, name string) *api.SdkVolumeInspectResponse {
		return &api.SdkVolumeInspectResponse{Volume: &api.Volume{Id: id, Locator: &api.VolumeLocator{Name: name}}}
	}
	return &api.SdkVolumeInspectWithFiltersResponse{Volumes: []*api.SdkVolumeInspectResponse{
		nil, volume("2", "pvc-22"), volume("3", "pvc-2"), volume("4", "42")}}, nil
}

func TestVolumeIsSearchedForByItsName(t *testing.T) {
	tests := []struct {
		name, handle string
		want         string // the id that is found
	}{
		{"an id is asked for", "1", "1"},
		{"a name is searched for, and must be the same", "pvc-2", "3"},
		{"a name that no volume has is not found", "pvc-3", ""},
		{"a number is an id and is not searched for", "42", ""},
	}
	s := &Source{client: &client{volumes: idsOnly{}}}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			o, err := s.ask(t.Context(), test.handle, routine)
			if o.ID != test.want || (kindOf(err) == absent) != (test.want == "") {
				t.Errorf("found %q, %v, want %q", o.ID, err, test.want)
			}
		})
	}
}

// bare returns a source that is not running, and its index.
func bare(v api.OpenStorageVolumeClient) (*Source, *volumes.Index) {
	index := volumes.NewIndex(volumes.Options{})
	s := newSource(Config{}.withDefaults(), index)
	s.client = &client{volumes: v}
	s.claimed = all // there are no PVs, but the handles count as if there were
	return s, index
}

// unasked fails the test when a volume is inspected.
type unasked struct {
	api.OpenStorageVolumeClient
	t *testing.T
}

func (u unasked) Inspect(_ context.Context, request *api.SdkVolumeInspectRequest, _ ...grpc.CallOption) (*api.SdkVolumeInspectResponse, error) {
	u.t.Errorf("volume %s is inspected", request.VolumeId)
	return nil, status.Error(codes.Unavailable, "not expected")
}

func TestWhatIsLearnedMeanwhileIsNotInspected(t *testing.T) {
	s, index := bare(unasked{t: t})
	index.Request("1")

	s.setWatch(watchListing)
	if s.queueUnverified() || s.queue.len() != 0 {
		t.Errorf("%d volumes are queued while an initial list comes in", s.queue.len())
	}
	s.setWatch(watchOpen)
	if !s.queueUnverified() || s.queue.len() != 1 {
		t.Errorf("%d volumes are queued after it, want the unknown one", s.queue.len())
	}
	index.Notice(&volumes.Observation{ID: "1", ReplicaSets: [][]string{{"s1"}}})
	handle, l, _ := s.queue.next()
	s.inspect(t.Context(), handle, l)
}

func TestAuditCountsWhatWasClean(t *testing.T) {
	tests := []struct {
		name              string
		priority          priority
		result            volumes.Result
		watching          bool
		audited, diverged int
	}{
		{"a volume that was right", routine, volumes.Confirmed, true, 1, 0},
		{"a volume that was wrong", routine, volumes.Diverged, true, 1, 1},
		{"a volume that was new", routine, volumes.Learned, true, 0, 0},
		{"a volume that nobody follows any more", routine, volumes.Dropped, true, 0, 0},
		{"a volume that was inspected for a reason", dirty, volumes.Diverged, true, 0, 0},
		{"a change that only polling can find", routine, volumes.Diverged, false, 0, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var a audit
			a.begin(1)
			a.note("1", test.priority, test.result, test.watching)
			current, _ := a.passes()
			if current.Audited != test.audited || current.Diverged != test.diverged || len(current.Examples) != test.diverged {
				t.Errorf("pass is %+v", current)
			}
		})
	}
}

func TestConditionIsLoggedOnceWhenItBeginsAndOnceWhenItEnds(t *testing.T) {
	var log lockedBuffer
	p := newConditions()
	p.logTo(textlogger.NewLogger(textlogger.NewConfig(textlogger.Output(&log))))
	p.set(ReasonNoNodes, "no nodes", "look")
	p.set(ReasonNoNodes, "still no nodes", "look")
	p.clear(ReasonNoNodes)
	p.clear(ReasonNoNodes)
	if lines := strings.Count(log.String(), "\n"); lines != 2 || !strings.Contains(log.String(), `"Storage API condition raised"`) ||
		!strings.Contains(log.String(), `"Storage API condition cleared"`) {
		t.Errorf("log is\n%s\nwant one line for the beginning and one for the end", log.String())
	}
}
