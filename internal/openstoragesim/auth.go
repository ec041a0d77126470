package openstoragesim

import (
	"context"
	"maps"
	"path"
	"strings"
	"sync"
	"time"

	"github.com/libopenstorage/openstorage/api"
	"github.com/libopenstorage/openstorage/pkg/auth"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
)

// Roles that every server knows.
const (
	RoleAdmin = "system.admin"
	RoleView  = "system.view"
	RoleUser  = "system.user"
	roleGuest = "system.guest"
)

// AdminGroup is the group whose members see the volumes of every owner. A token
// without it gets short or empty lists, and no error.
const AdminGroup = api.AdminGroup

// Token is what a bearer token stands for.
type Token struct {
	User   string
	Roles  []string
	Groups []string
	// Expires is when the token stops to be valid; zero means never.
	Expires time.Time
}

// Tokens are the bearer tokens that a Server accepts. They can be changed while
// it runs, as when tokens are rotated. The zero value accepts none, so that
// every caller is a guest or refused.
type Tokens struct {
	mu     sync.RWMutex
	tokens map[string]Token
}

// Set makes the bearer text valid.
func (t *Tokens) Set(bearer string, token Token) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.tokens == nil {
		t.tokens = map[string]Token{}
	}
	t.tokens[bearer] = token
}

// Replace makes exactly these bearer texts valid.
func (t *Tokens) Replace(tokens map[string]Token) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.tokens = maps.Clone(tokens)
}

// authorize authenticates the caller and checks that its roles allow the call.
// The returned context carries the user, for the ownership checks of volumes.
func (t *Tokens) authorize(ctx context.Context, method string) (context.Context, error) {
	user, err := t.authenticate(ctx)
	if err != nil {
		return nil, err
	}
	for _, role := range user.Claims.Roles {
		for _, pattern := range allowed[role] {
			if match, _ := path.Match(pattern, strings.ToLower(method)); match {
				return auth.ContextSaveUserInfo(ctx, user), nil
			}
		}
	}
	if user.IsGuest() {
		return nil, status.Errorf(codes.PermissionDenied, "access to %s denied without authentication token", method)
	}
	return nil, status.Errorf(codes.PermissionDenied, "access to %s denied to roles %q", method, user.Claims.Roles)
}

func (t *Tokens) authenticate(ctx context.Context) (*auth.UserInfo, error) {
	headers := metadata.ValueFromIncomingContext(ctx, "authorization")
	if len(headers) == 0 || headers[0] == "" {
		return auth.NewGuestUser(), nil
	}
	scheme, bearer, _ := strings.Cut(headers[0], " ")
	if !strings.EqualFold(scheme, "bearer") {
		return nil, status.Error(codes.Unauthenticated, "invalid or missing authentication token")
	}
	t.mu.RLock()
	token, known := t.tokens[bearer]
	t.mu.RUnlock()
	if !known {
		return nil, status.Error(codes.Unauthenticated, "unable to obtain token issuer from authorization token")
	}
	if !token.Expires.IsZero() && !time.Now().Before(token.Expires) {
		return nil, status.Error(codes.PermissionDenied, "unable to authenticate token")
	}
	return &auth.UserInfo{
		Username: token.User,
		Claims:   auth.Claims{Subject: token.User, Roles: token.Roles, Groups: token.Groups},
	}, nil
}

// allowed has the calls that the built-in roles of real servers may make, in lower
// case and reduced to the services that are simulated.
var allowed = map[string][]string{
	RoleAdmin: {"*"},
	RoleView:  {"*.*enumerate*", "*.inspect*", "*.watch"},
	RoleUser:  {"volume.*", "node.enumerate*"},
	roleGuest: {"volume.*", "node.enumerate*"},
}
