package simulation

import (
	"fmt"
	"net/http"
	"strings"

	"k8s.io/client-go/rest"
)

// ReadOnly is a configuration whose clients change nothing: they may read, and ask what
// the user may do. Everything else fails before it is sent.
func ReadOnly(config *rest.Config) *rest.Config {
	copied := rest.CopyConfig(config)
	copied.Wrap(func(next http.RoundTripper) http.RoundTripper { return readOnly{next} })
	return copied
}

type readOnly struct{ next http.RoundTripper }

// RoundTrip implements http.RoundTripper.
func (r readOnly) RoundTrip(request *http.Request) (*http.Response, error) {
	switch {
	case request.Method == http.MethodGet, request.Method == http.MethodHead:
	case request.Method == http.MethodPost && asks(request.URL.Path):
	default:
		return nil, fmt.Errorf("%s %s: a simulation changes nothing", request.Method, request.URL.Path)
	}
	return r.next.RoundTrip(request)
}

// asks reports whether a POST to the path is a question.
func asks(path string) bool {
	return strings.HasPrefix(path, "/apis/authorization.k8s.io/") || strings.HasPrefix(path, "/apis/authentication.k8s.io/")
}
