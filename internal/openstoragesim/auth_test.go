package openstoragesim

import (
	"context"
	"maps"
	"testing"
	"time"

	"github.com/libopenstorage/openstorage/api"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
)

func TestTokens(t *testing.T) {
	now := time.Now()
	tokens := &Tokens{}
	tokens.Replace(map[string]Token{
		"admin":     {User: "root", Roles: []string{RoleAdmin}, Groups: []string{AdminGroup}},
		"view":      {User: "scheduler", Roles: []string{RoleView}, Groups: []string{AdminGroup}, Expires: now.Add(time.Hour)},
		"groupless": {User: "scheduler", Roles: []string{RoleView}},
		"user":      {User: "someone", Roles: []string{RoleUser}},
		"owner":     {User: owner, Roles: []string{RoleUser}},
		"roleless":  {User: "nobody", Groups: []string{AdminGroup}},
		"expired":   {User: "root", Roles: []string{RoleAdmin}, Groups: []string{AdminGroup}, Expires: now},
	})
	c := newCluster(t, 1)
	v, err := c.CreateVolume(CreateRequest{Name: "v"})
	if err != nil {
		t.Fatal(err)
	}
	s := start(t, c, ServerOptions{Tokens: tokens})
	cl := dial(t, s.Endpoint())

	const (
		ok      = codes.OK
		denied  = codes.PermissionDenied
		unknown = codes.Unauthenticated
	)
	tests := []struct {
		name   string
		header string
		// lists is the number of volumes in lists, which never are refused
		// to those who may ask.
		lists   int
		list    codes.Code
		inspect codes.Code
		nodes   codes.Code
		watch   codes.Code
		watched int // volumes in the dump
		create  codes.Code
		owner   string // of the volume that is created
	}{
		{name: "an administrator may do all", header: "bearer admin", lists: 1, watched: 1, owner: "root"},
		{name: "the scheme's case does not matter", header: "Bearer admin", lists: 1, watched: 1, owner: "root"},
		{name: "system.view with the group sees all and makes nothing", header: "bearer view", lists: 1, watched: 1, create: denied},
		{name: "system.view without the group sees empty lists, and no error", header: "bearer groupless", inspect: denied, create: denied},
		{name: "system.user may not watch", header: "bearer user", inspect: denied, watch: denied, owner: "someone"},
		{name: "the owner sees its volumes without any group", header: "bearer owner", lists: 1, watch: denied, owner: owner},
		{name: "no token is a guest, whose lists are empty", inspect: denied, watch: denied},
		{name: "a token without a role may do nothing", header: "bearer roleless", list: denied, inspect: denied, nodes: denied, watch: denied, create: denied},
		{name: "an expired token is denied", header: "bearer expired", list: denied, inspect: denied, nodes: denied, watch: denied, create: denied},
		{name: "garbage is not authenticated", header: "bearer garbage", list: unknown, inspect: unknown, nodes: unknown, watch: unknown, create: unknown},
		{name: "another scheme is not authenticated", header: "basic admin", list: unknown, inspect: unknown, nodes: unknown, watch: unknown, create: unknown},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			ctx := t.Context()
			if test.header != "" {
				ctx = metadata.AppendToOutgoingContext(ctx, "authorization", test.header)
			}
			list, err := cl.volumes.Enumerate(ctx, &api.SdkVolumeEnumerateRequest{})
			wantCode(t, err, test.list)
			if n := len(list.GetVolumeIds()); n != test.lists {
				t.Errorf("Enumerate shows %d volumes, want %d", n, test.lists)
			}
			full, err := cl.volumes.InspectWithFilters(ctx, &api.SdkVolumeInspectWithFiltersRequest{})
			wantCode(t, err, test.list)
			if n := len(full.GetVolumes()); n != test.lists {
				t.Errorf("InspectWithFilters shows %d volumes, want %d", n, test.lists)
			}
			_, err = cl.volumes.Inspect(ctx, &api.SdkVolumeInspectRequest{VolumeId: v.GetId()})
			wantCode(t, err, test.inspect)
			_, err = cl.nodes.EnumerateWithFilters(ctx, &api.SdkNodeEnumerateWithFiltersRequest{})
			wantCode(t, err, test.nodes)
			checkWatch(ctx, t, cl, test.watch, test.watched)

			created, err := cl.volumes.Create(ctx, &api.SdkVolumeCreateRequest{Name: "new", Spec: &api.VolumeSpec{}})
			wantCode(t, err, test.create)
			if err == nil {
				made, err := c.Volume("new")
				must(t, err)
				if owner := made.GetSpec().GetOwnership().GetOwner(); owner != test.owner {
					t.Errorf("the new volume is owned by %q, want %q", owner, test.owner)
				}
				// It belongs to whoever made it, so that one may delete it.
				_, err = cl.volumes.Delete(ctx, &api.SdkVolumeDeleteRequest{VolumeId: created.GetVolumeId()})
				wantCode(t, err, ok)
			}
		})
	}

	t.Run("tokens rotate while the server runs", func(t *testing.T) {
		call := func(bearer string) error {
			ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "bearer "+bearer)
			return cl.ping(ctx)
		}
		wantCode(t, call("view"), ok)
		tokens.Set("view", Token{User: "scheduler", Roles: []string{RoleView}, Expires: now})
		wantCode(t, call("view"), denied)
		tokens.Set("view2", Token{User: "scheduler", Roles: []string{RoleView}})
		wantCode(t, call("view2"), ok)
		others := maps.Clone(tokens.tokens)
		delete(others, "view2")
		tokens.Replace(others)
		wantCode(t, call("view2"), unknown)
	})

	t.Run("a name that another user's volume has is taken", func(t *testing.T) {
		ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "bearer user")
		_, err := cl.volumes.Create(ctx, &api.SdkVolumeCreateRequest{Name: "v", Spec: &api.VolumeSpec{}})
		wantCode(t, err, denied)
	})
}

// checkWatch opens a watch and expects that many volumes, or a refusal.
func checkWatch(ctx context.Context, t *testing.T, cl client, want codes.Code, volumes int) {
	t.Helper()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stream, err := cl.watch.Watch(ctx, &api.SdkWatchRequest{
		EventType: &api.SdkWatchRequest_VolumeEvent{VolumeEvent: &api.SdkVolumeWatchRequest{}},
	})
	wantCode(t, err, codes.OK)
	if want != codes.OK {
		_, err := stream.Recv()
		wantCode(t, err, want)
		return
	}
	recv(t, stream, volumes)
}

func TestWatchShowsOnlyWhatListsShow(t *testing.T) {
	tokens := &Tokens{}
	tokens.Set("mine", Token{User: "me", Roles: []string{RoleView}})
	c := newCluster(t, 1)
	s := start(t, c, ServerOptions{Tokens: tokens})
	cl := dial(t, s.Endpoint())
	if _, err := c.CreateVolume(CreateRequest{Name: "theirs"}); err != nil {
		t.Fatal(err)
	}
	if _, err := c.create("mine", &api.VolumeSpec{Ownership: &api.Ownership{Owner: "me"}}, nil); err != nil {
		t.Fatal(err)
	}
	ctx := metadata.AppendToOutgoingContext(t.Context(), "authorization", "bearer mine")
	stream, err := cl.watch.Watch(ctx, &api.SdkWatchRequest{
		EventType: &api.SdkWatchRequest_VolumeEvent{VolumeEvent: &api.SdkVolumeWatchRequest{}},
	})
	wantCode(t, err, codes.OK)
	if got := recv(t, stream, 1)[0].GetLocator().GetName(); got != "mine" {
		t.Errorf("the dump shows volume %q", got)
	}
	step(t, c, "theirs", 1)
	step(t, c, "mine", 1)
	if got := recv(t, stream, 1)[0].GetLocator().GetName(); got != "mine" {
		t.Errorf("an event of volume %q", got)
	}
}
