package simulation

import (
	"fmt"
	"net/http"
	"path"
	"strings"

	"k8s.io/client-go/rest"
)

// ReadOnly is a configuration whose clients change nothing: they may read, and ask what
// the user may do. Everything else fails before it is sent.
func ReadOnly(config *rest.Config) *rest.Config {
	copied := rest.CopyConfig(config)
	copied.Wrap(func(next http.RoundTripper) http.RoundTripper { return readOnly{next: next, groups: groupsOf(config)} })
	return copied
}

// groupsOf is the path of the API groups, which a proxy may have put behind one of its own.
func groupsOf(config *rest.Config) string {
	server, _, err := rest.DefaultServerUrlFor(config)
	if err != nil {
		return "/apis" // no client can be made
	}
	return path.Join("/", server.Path, "apis")
}

type readOnly struct {
	next   http.RoundTripper
	groups string
}

// RoundTrip implements http.RoundTripper.
func (r readOnly) RoundTrip(request *http.Request) (*http.Response, error) {
	switch {
	case request.Method == http.MethodGet, request.Method == http.MethodHead:
	case request.Method == http.MethodPost && r.asks(request.URL.Path):
	default:
		return nil, fmt.Errorf("%s %s: a simulation changes nothing", request.Method, request.URL.Path)
	}
	return r.next.RoundTrip(request)
}

// asks reports whether a POST to the path is a question: nothing else is in these groups.
func (r readOnly) asks(to string) bool {
	group, found := strings.CutPrefix(to, r.groups)
	return found && (strings.HasPrefix(group, "/authorization.k8s.io/") || strings.HasPrefix(group, "/authentication.k8s.io/"))
}
