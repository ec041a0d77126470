package controlplane

import (
	"crypto/tls"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"k8s.io/apiserver/pkg/authentication/token/tokenfile"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/hyperconverge/scheduler/internal/sandbox/workdir"
)

// Every kubeconfig must reach a server that serves with the certificate, and carry
// the token of the right user.
func TestEveryKubeconfigIsKnownAsItsUser(t *testing.T) {
	dir, err := workdir.Create(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = dir.Remove() }()

	token := ""
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		token = strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	}))
	c, err := writeCredentials(dir, server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	serving, err := tls.LoadX509KeyPair((&ControlPlane{credentials: c}).Certificate())
	if err != nil {
		t.Fatal(err)
	}
	server.TLS = &tls.Config{Certificates: []tls.Certificate{serving}}
	server.StartTLS()
	defer server.Close()
	known, err := tokenfile.NewCSV(dir.Join(tokensFile)) // as the API server reads it
	if err != nil {
		t.Fatal(err)
	}
	expectUser := func(t *testing.T, config *rest.Config, want user) {
		t.Helper()
		client, err := rest.HTTPClientFor(config)
		if err != nil {
			t.Fatal(err)
		}
		response, err := client.Get(config.Host)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		client.CloseIdleConnections()
		seen, ok, err := known.AuthenticateToken(t.Context(), token)
		if err != nil || !ok || seen.User.GetName() != want.name || strings.Join(seen.User.GetGroups(), ",") != want.group {
			t.Errorf("the server sees %+v (%v), want %s of %q", seen, err, want.name, want.group)
		}
	}

	for _, u := range []user{admin, controllerManager, defaultScheduler, scheduler, webhookUser} {
		t.Run(u.name, func(t *testing.T) {
			config, err := clientcmd.BuildConfigFromFlags("", c.kubeconfigPath(u))
			if err != nil {
				t.Fatal(err)
			}
			expectUser(t, config, u)
		})
	}
	t.Run("the sandbox itself is the administrator", func(t *testing.T) { expectUser(t, c.restConfig(), admin) })
}

func TestCredentialsAreForNobodyElse(t *testing.T) {
	dir, err := workdir.Create(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = dir.Remove() }()
	if _, err := writeCredentials(dir, "127.0.0.1:1"); err != nil {
		t.Fatal(err)
	}
	if err := filepath.WalkDir(dir.Path(), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		stat, err := os.Stat(path)
		if err == nil && stat.Mode().Perm()&0o077 != 0 {
			t.Errorf("%s has mode %v", entry.Name(), stat.Mode())
		}
		return err
	}); err != nil {
		t.Fatal(err)
	}
}
