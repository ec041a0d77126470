package controlplane

import (
	"crypto/tls"
	"crypto/x509"
	"io/fs"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/hyperconverge/scheduler/internal/sandbox/workdir"
)

// Every kubeconfig must reach a server that serves with the serving certificate,
// and be known to it as the right user.
func TestEveryKubeconfigIsKnownAsItsUser(t *testing.T) {
	dir, err := workdir.Create(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = dir.Remove() }()

	var seen *x509.Certificate
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		seen = r.TLS.PeerCertificates[0]
	}))
	address := server.Listener.Addr().String()
	c, err := writeCredentials(dir, address)
	if err != nil {
		t.Fatal(err)
	}
	serving, err := tls.LoadX509KeyPair(dir.Join(servingCertFile), dir.Join(servingKeyFile))
	if err != nil {
		t.Fatal(err)
	}
	clients := x509.NewCertPool()
	clients.AppendCertsFromPEM(c.ca)
	server.TLS = &tls.Config{
		Certificates: []tls.Certificate{serving},
		ClientAuth:   tls.RequireAndVerifyClientCert,
		ClientCAs:    clients,
	}
	server.StartTLS()
	defer server.Close()

	for _, u := range []user{admin, controllerManager, defaultScheduler, scheduler} {
		t.Run(u.name, func(t *testing.T) {
			config, err := clientcmd.BuildConfigFromFlags("", c.kubeconfigPath(u))
			if err != nil {
				t.Fatal(err)
			}
			expectUser(t, config, u, &seen)
		})
	}
	t.Run("the sandbox itself is the administrator", func(t *testing.T) {
		expectUser(t, c.restConfig(), admin, &seen)
	})
}

func expectUser(t *testing.T, config *rest.Config, want user, seen **x509.Certificate) {
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
	if got := (*seen).Subject; got.CommonName != want.name || !cmp.Equal(got.Organization, want.groups) {
		t.Errorf("the server sees %s, want %s of %v", got, want.name, want.groups)
	}
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
