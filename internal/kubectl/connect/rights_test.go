package connect

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"k8s.io/client-go/rest"
)

// TestRights: what is needed stops the command, what is wanted is said to be unknown.
func TestRights(t *testing.T) {
	for name, row := range map[string]struct {
		forbidden []string
		unknown   int
		err       string
	}{
		"all may be read":                  {},
		"strategies may not":               {forbidden: []string{"volumeplacementstrategies"}, unknown: 1},
		"nor snapshots and their contents": {forbidden: []string{"volumeplacementstrategies", "volumesnapshot"}, unknown: 3},
		"pods may not":                     {forbidden: []string{"/pods"}, err: "you may not list pods in all namespaces"},
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				w.Header().Set("Content-Type", "application/json")
				for _, part := range row.forbidden {
					if strings.Contains(r.URL.Path, part) {
						w.WriteHeader(http.StatusForbidden)
						_, _ = w.Write([]byte(`{"kind":"Status","apiVersion":"v1","status":"Failure","reason":"Forbidden","code":403}`))
						return
					}
				}
				if strings.Contains(r.URL.Path, "kubevirt.io") { // is not installed
					w.WriteHeader(http.StatusNotFound)
					return
				}
				_, _ = w.Write([]byte(`{"kind":"PartialObjectMetadataList","apiVersion":"meta.k8s.io/v1","metadata":{}}`))
			}))
			defer server.Close()
			unknown, err := checkRights(t.Context(), &rest.Config{Host: server.URL})
			if got := errorText(err); len(unknown) != row.unknown || (row.err == "") != (got == "") || !strings.Contains(got, row.err) {
				t.Errorf("unknown are %q, and the error is %q", unknown, got)
			}
		})
	}
}

func errorText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}
