package openstorage

import (
	"context"
	"testing"

	"github.com/libopenstorage/openstorage/api"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

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
			o, err := s.ask(t.Context(), test.handle)
			if o.ID != test.want || (kindOf(err) == absent) != (test.want == "") {
				t.Errorf("found %q, %v, want %q", o.ID, err, test.want)
			}
		})
	}
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

func TestWhatIsSettledMeanwhileIsNotInspected(t *testing.T) {
	index := volumes.NewIndex(volumes.Options{})
	index.Want("1")
	s := &Source{index: index, queue: newQueue(), gate: newGate(), client: &client{volumes: unasked{t: t}}}

	s.dumping.Store(true)
	if queued, ok := s.queueUnsettled(); ok || queued != 0 || s.queue.len() != 0 {
		t.Errorf("%d volumes are queued while a dump comes in", s.queue.len())
	}
	s.dumping.Store(false)
	if queued, ok := s.queueUnsettled(); !ok || queued != 1 || s.queue.len() != 1 {
		t.Errorf("%d volumes are queued after the dump, want the unknown one", s.queue.len())
	}
	index.Notice(&volumes.Observation{ID: "1", ReplicaSets: [][]string{{"s1"}}})
	handle, l, tries, _ := s.queue.next()
	s.inspect(t.Context(), handle, l, tries)
}

func TestAnAcceptedTokenHasUnsettledVolumesInspected(t *testing.T) {
	s := &Source{problems: newProblems(nil), settle: make(chan struct{}, 1)}
	s.judge(answered, nil)
	if len(s.settle) != 0 {
		t.Error("an ordinary answer has volumes inspected")
	}
	s.judge(refused, status.Error(codes.Unauthenticated, "who are you"))
	s.judge(answered, nil)
	if len(s.settle) != 1 {
		t.Error("volumes that could not be inspected with the old token wait for the resync")
	}
}

func TestAuditCountsWhatNothingCastDoubtOn(t *testing.T) {
	tests := []struct {
		name              string
		level             level
		verdict           volumes.Verdict
		watching          bool
		audited, diverged int
	}{
		{"a volume that was right", routine, volumes.Confirmed, true, 1, 0},
		{"a volume that was wrong", routine, volumes.Diverged, true, 1, 1},
		{"a volume that was new", routine, volumes.Learned, true, 0, 0},
		{"a volume that nobody follows any more", routine, volumes.Dropped, true, 0, 0},
		{"a volume that was inspected for a reason", doubted, volumes.Diverged, true, 0, 0},
		{"a change that only polling can find", routine, volumes.Diverged, false, 0, 0},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			var a audit
			a.begin(1)
			a.note("1", test.level, test.verdict, test.watching)
			current, _ := a.passes()
			if current.Audited != test.audited || current.Diverged != test.diverged || len(current.Examples) != test.diverged {
				t.Errorf("pass is %+v", current)
			}
		})
	}
}

func TestProblemIsToldOnceWhenItBeginsAndOnceWhenItEnds(t *testing.T) {
	var told []bool
	p := newProblems(func(problem Problem) { told = append(told, problem.Active) })
	p.set(ReasonNoNodes, "no nodes")
	p.set(ReasonNoNodes, "still no nodes")
	p.clear(ReasonNoNodes)
	p.clear(ReasonNoNodes)
	if len(told) != 2 || !told[0] || told[1] {
		t.Errorf("told as active: %v, want true, then false", told)
	}
}
