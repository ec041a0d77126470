package conformance

import (
	"context"
	"fmt"
	"testing"
	"time"

	"github.com/libopenstorage/openstorage/api"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// TestServersAnswerAlike makes every kind of call as every kind of caller.
func TestServersAnswerAlike(t *testing.T) {
	const everything, nothing = "2", "0"
	denied, unknown, absent := codes.PermissionDenied.String(), codes.Unauthenticated.String(), codes.NotFound.String()
	tests := []struct {
		caller caller
		// What comes of each call: how many are listed, or why not.
		volumes, inspect, missing, nodes, watch string
	}{
		{viewer, everything, "found", absent, "3", everything},
		{blindViewer, nothing, denied, absent, "3", nothing},
		{user, everything, "found", absent, "3", denied},
		{guest, nothing, denied, absent, "3", denied},
		{expired, denied, denied, denied, denied, denied},
		{garbage, unknown, unknown, unknown, unknown, unknown},
	}
	onBoth(t, func(w *world) {
		id := w.volume("pvc-1", "node-1", "node-2")
		w.volume("pvc-2", "node-2", "node-3")
		conn, err := grpc.NewClient(w.endpoint, grpc.WithTransportCredentials(insecure.NewCredentials()))
		must(w.t, err)
		defer func() { must(w.t, conn.Close()) }()
		volumes, nodes := api.NewOpenStorageVolumeClient(conn), api.NewOpenStorageNodeClient(conn)
		for _, test := range tests {
			ctx := w.t.Context()
			if bearer := w.bearers[test.caller.name]; bearer != "" {
				ctx = metadata.AppendToOutgoingContext(ctx, "authorization", "bearer "+bearer)
			}
			check := func(call, want, got string) {
				if got != want {
					w.t.Errorf("%s, called with %s: %s, want %s", call, test.caller.name, got, want)
				}
			}
			list, err := volumes.Enumerate(ctx, &api.SdkVolumeEnumerateRequest{})
			check("Enumerate", test.volumes, outcome(err, fmt.Sprint(len(list.GetVolumeIds()))))
			full, err := volumes.InspectWithFilters(ctx, &api.SdkVolumeInspectWithFiltersRequest{})
			check("InspectWithFilters", test.volumes, outcome(err, fmt.Sprint(len(full.GetVolumes()))))
			for _, handle := range []string{id, "pvc-1"} {
				one, err := volumes.Inspect(ctx, &api.SdkVolumeInspectRequest{VolumeId: handle})
				check("Inspect", test.inspect, outcome(err, "found"))
				if err == nil && (one.GetVolume().GetId() != id || one.GetName() != "pvc-1" || len(one.GetVolume().GetReplicaSets()) != 1) {
					w.t.Errorf("Inspect of %s: %v", handle, one)
				}
			}
			_, err = volumes.Inspect(ctx, &api.SdkVolumeInspectRequest{VolumeId: "4711"})
			check("Inspect of a missing volume", test.missing, outcome(err, "found"))
			all, err := nodes.EnumerateWithFilters(ctx, &api.SdkNodeEnumerateWithFiltersRequest{})
			check("node list", test.nodes, outcome(err, fmt.Sprint(len(all.GetNodes()))))
			check("Watch", test.watch, dump(ctx, conn))
		}
	})
}

func outcome(err error, success string) string {
	if err != nil {
		return status.Code(err).String()
	}
	return success
}

// dump counts the volumes that a watch sends before it falls silent.
func dump(ctx context.Context, conn *grpc.ClientConn) string {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := api.NewOpenStorageWatchClient(conn).Watch(ctx, &api.SdkWatchRequest{
		EventType: &api.SdkWatchRequest_VolumeEvent{VolumeEvent: &api.SdkVolumeWatchRequest{}}})
	if err != nil {
		return outcome(err, "")
	}
	silence := time.AfterFunc(time.Second, cancel)
	defer silence.Stop()
	for n := 0; ; n++ {
		if _, err := stream.Recv(); err != nil {
			if ctx.Err() != nil {
				return fmt.Sprint(n)
			}
			return outcome(err, "")
		}
		silence.Reset(time.Second)
	}
}
