package fakenodes

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/klog/v2"
)

// NothingRuns is told to whoever asks for the inside of a pod.
const NothingRuns = "This pod only counts as running: the sandbox has no container runtime."

// headerTimeout bounds how long a client may take to say what it wants.
const headerTimeout = 10 * time.Second

// ServeKubelets answers for the kubelets of all nodes what kubectl logs, exec, attach and
// port-forward ask them by way of the API server: NothingRuns. It serves with the
// certificate and the key in these PEM files, closes the listener, and returns when the
// context has ended, or with the error that kept it from serving.
func ServeKubelets(ctx context.Context, listener net.Listener, certFile, keyFile string) error {
	defer func() { _ = listener.Close() }()
	server := &http.Server{
		Handler:           http.HandlerFunc(answer),
		ReadHeaderTimeout: headerTimeout,
		ErrorLog:          klog.NewStandardLogger("INFO"),
	}
	defer context.AfterFunc(ctx, func() { _ = server.Close() })()
	if err := server.ServeTLS(listener, certFile, keyFile); !errors.Is(err, http.ErrServerClosed) {
		return err
	}
	return nil
}

// answer gives the sentence as the log of any container, and as the reason why nothing
// else can be done: as a Status, since clients take other text for YAML of one.
func answer(w http.ResponseWriter, r *http.Request) {
	if strings.HasPrefix(r.URL.Path, "/containerLogs/") {
		_, _ = io.WriteString(w, NothingRuns+"\n")
		return
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(http.StatusNotImplemented)
	_ = json.NewEncoder(w).Encode(metav1.Status{
		TypeMeta: metav1.TypeMeta{APIVersion: "v1", Kind: "Status"},
		Status:   metav1.StatusFailure, Message: NothingRuns, Code: http.StatusNotImplemented,
	})
}
