package simulation

import (
	"errors"
	"net/http"
	"testing"

	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
)

// errSent ends the requests that would have been sent.
var errSent = errors.New("sent")

type wire struct{}

func (wire) RoundTrip(*http.Request) (*http.Response, error) { return nil, errSent }

func TestReadOnlyConfigurationsSendNoWrites(t *testing.T) {
	const (
		direct = "https://10.0.0.1:6443"
		behind = "https://proxy.example/k8s/clusters/c-1/"
		review = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews"
	)
	for _, tc := range []struct {
		name, host, method, path string
		sent                     bool
	}{
		{"a read is sent", direct, http.MethodGet, "/api/v1/pods", true},
		{"a look at the headers is sent", direct, http.MethodHead, "/api/v1/pods", true},
		{"the question what the user may do is sent", direct, http.MethodPost, review, true},
		{"the question in a namespace is sent", direct, http.MethodPost, "/apis/authorization.k8s.io/v1/namespaces/shop/localsubjectaccessreviews", true},
		{"the question of what name the user has is sent", direct, http.MethodPost, "/apis/authentication.k8s.io/v1/selfsubjectreviews", true},
		{"a question of a server behind a path is sent", behind, http.MethodPost, review, true},
		{"a new object fails", direct, http.MethodPost, "/api/v1/namespaces/shop/pods", false},
		{"a new object of a server behind a path fails", behind, http.MethodPost, "/api/v1/namespaces/shop/pods", false},
		{"a binding fails", direct, http.MethodPost, "/api/v1/namespaces/shop/pods/db-0/binding", false},
		{"a replacement fails", direct, http.MethodPut, "/api/v1/namespaces/shop/pods/db-0", false},
		{"a patch fails", direct, http.MethodPatch, "/api/v1/namespaces/shop/pods/db-0", false},
		{"a deletion fails", direct, http.MethodDelete, "/api/v1/namespaces/shop/pods/db-0", false},
		{"a replacement of a question fails", direct, http.MethodPut, review, false},
		{"an object with the name of a group of questions fails", direct, http.MethodPost, "/api/v1/namespaces/shop/pods/authorization.k8s.io", false},
		{"a group with nearly the name of one of questions fails", direct, http.MethodPost, "/apis/authorization.k8s.io.example/v1/rights", false},
		{"a question that the server would proxy to something else fails", direct, http.MethodPost, "/api/v1/namespaces/shop/services/web/proxy" + review, false},
	} {
		t.Run(tc.name, func(t *testing.T) {
			client, err := rest.UnversionedRESTClientFor(ReadOnly(&rest.Config{
				Host: tc.host, Transport: wire{}, ContentConfig: rest.ContentConfig{NegotiatedSerializer: scheme.Codecs},
			}))
			if err != nil {
				t.Fatal(err)
			}
			err = client.Verb(tc.method).AbsPath(tc.path).Do(t.Context()).Error()
			if sent := errors.Is(err, errSent); err == nil || sent != tc.sent {
				t.Errorf("sent: %v, want %v (%v)", sent, tc.sent, err)
			}
		})
	}
}
