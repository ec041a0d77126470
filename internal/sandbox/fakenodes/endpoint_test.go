package fakenodes

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/remotecommand"
	"k8s.io/client-go/util/cert"
)

func TestWhoAsksForTheInsideOfAPodIsToldThatNothingRuns(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	certificate, key, err := cert.GenerateSelfSignedCertKey("127.0.0.1", []net.IP{net.IPv4(127, 0, 0, 1)}, nil)
	if err != nil {
		t.Fatal(err)
	}
	certFile, keyFile := filepath.Join(t.TempDir(), "crt"), filepath.Join(t.TempDir(), "key")
	for path, content := range map[string][]byte{certFile: certificate, keyFile: key} {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- ServeKubelets(ctx, listener, certFile, keyFile) }()

	config := &rest.Config{TLSClientConfig: rest.TLSClientConfig{CAData: certificate}}
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		t.Fatal(err)
	}
	kubelet := url.URL{Scheme: "https", Host: listener.Addr().String()}
	t.Run("the log of a container is the sentence", func(t *testing.T) {
		response, err := client.Get(kubelet.JoinPath("containerLogs/default/mysql/mysql").String())
		if err != nil {
			t.Fatal(err)
		}
		body, err := io.ReadAll(response.Body)
		_ = response.Body.Close()
		if err != nil || response.StatusCode != http.StatusOK || string(body) != NothingRuns+"\n" {
			t.Errorf("answered %d %q, %v; want the sentence", response.StatusCode, body, err)
		}
	})
	for name, path := range map[string]string{
		"a command cannot be run":      "exec/default/mysql/mysql",
		"nothing can be attached to":   "attach/default/mysql/mysql",
		"no port is there to be asked": "portForward/default/mysql",
	} {
		t.Run(name, func(t *testing.T) {
			executor, err := remotecommand.NewSPDYExecutor(config, http.MethodPost, kubelet.JoinPath(path))
			if err != nil {
				t.Fatal(err)
			}
			err = executor.StreamWithContext(t.Context(), remotecommand.StreamOptions{Stdout: io.Discard})
			if err == nil || !strings.HasSuffix(err.Error(), NothingRuns) { // newer clients say before it what they wanted
				t.Errorf("error is %v, want the sentence", err)
			}
		})
	}

	client.CloseIdleConnections()
	cancel()
	if err := <-ended; err != nil {
		t.Errorf("ServeKubelets() = %v", err)
	}
}

func TestACertificateThatCannotBeReadEndsTheKubelets(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	if err := ServeKubelets(t.Context(), listener, "missing.crt", "missing.key"); err == nil {
		t.Error("it served without a certificate")
	}
	if err := listener.Close(); err == nil {
		t.Error("the listener was left open")
	}
}

// The InternalIP is what a node is told from others by.
func TestTheAddressOfTheKubeletsIsOneMore(t *testing.T) {
	node := nodes()[0]
	internal := []corev1.NodeAddress{{Type: corev1.NodeInternalIP, Address: "10.0.0.2"}, {Type: corev1.NodeHostName, Address: "node-1"}}
	for name, row := range map[string]struct {
		port      int
		addresses []corev1.NodeAddress
	}{
		"nobody answers for the kubelets": {0, internal},
		"they are asked on this machine":  {4711, append(internal, corev1.NodeAddress{Type: corev1.NodeExternalIP, Address: "127.0.0.1"})},
	} {
		t.Run(name, func(t *testing.T) {
			node.KubeletPort = row.port
			status := nodeObject(node, metav1.Now()).Status
			if diff := cmp.Diff(row.addresses, status.Addresses); diff != "" {
				t.Errorf("addresses differ (-want +got):\n%s", diff)
			}
			if got := int(status.DaemonEndpoints.KubeletEndpoint.Port); got != row.port {
				t.Errorf("port is %d, want %d", got, row.port)
			}
		})
	}
}
