package openstorage

import (
	"context"
	"testing"

	"github.com/libopenstorage/openstorage/api"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
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
