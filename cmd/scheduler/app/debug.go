package app

import (
	"context"
	"errors"
	"net"
	"net/http"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
	"k8s.io/apimachinery/pkg/util/wait"
	genericapifilters "k8s.io/apiserver/pkg/endpoints/filters"
	"k8s.io/apiserver/pkg/endpoints/request"
	genericfilters "k8s.io/apiserver/pkg/server/filters"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/klog/v2"
	schedulerconfig "k8s.io/kubernetes/cmd/kube-scheduler/app/config"

	"github.com/hyperconverge/scheduler/pkg/debug"
	"github.com/hyperconverge/scheduler/pkg/plugins/hyperconverge"
)

// debugRetry is how often a port that is taken is tried again, and debugGrace how long an
// answer may take when the process ends.
const (
	debugRetry = 10 * time.Second
	debugGrace = time.Second
)

// serveDebug serves the debug endpoint on the loopback address until ctx ends. Clients
// prove who they are, and that they may, as for kube-scheduler's own endpoints. Pods are
// scheduled without it as well, so that a port that is taken is no reason to end.
func serveDebug(ctx context.Context, config *schedulerconfig.CompletedConfig, factory *hyperconverge.Factory, sharePort bool) {
	port := factory.DebugPort()
	logger := klog.FromContext(ctx).WithName("debug")
	if port == 0 {
		return
	}
	if config.SecureServing == nil {
		logger.Info("There is no debug endpoint: it needs the certificate of --secure-port, which is off")
		return
	}
	configuration, err := debug.EncodeConfiguration(&config.ComponentConfig)
	if err != nil {
		logger.Error(err, "The debug endpoint cannot tell of the configuration")
	}
	serving := *config.SecureServing
	address := net.JoinHostPort("127.0.0.1", strconv.Itoa(int(port)))
	handler := debugChain(config, debug.Handler(factory, configuration))
	listener := net.ListenConfig{}
	if sharePort {
		listener.Control = reusePort
	}
	told := false
	_ = wait.PollUntilContextCancel(ctx, debugRetry, true, func(ctx context.Context) (bool, error) {
		if serving.Listener, err = listener.Listen(ctx, "tcp", address); err == nil {
			return true, nil
		}
		if !told {
			logger.Error(err, "There is no debug endpoint until its port is free; debugPort of the plugin's arguments names another, or 0 for none", "address", address)
			told = true
		}
		return false, nil
	})
	if ctx.Err() != nil {
		return
	}
	if _, _, err := serving.Serve(handler, debugGrace, ctx.Done()); err != nil {
		logger.Error(err, "There is no debug endpoint", "address", address)
		return
	}
	logger.Info("Serving the debug endpoint", "address", address)
}

// reusePort does for the debug endpoint what --permit-port-sharing does for the other.
func reusePort(_, _ string, connection syscall.RawConn) error {
	var failed error
	err := connection.Control(func(fd uintptr) {
		failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
	})
	return errors.Join(err, failed)
}

// debugChain asks who a client is, and whether it may.
func debugChain(config *schedulerconfig.CompletedConfig, handler http.Handler) http.Handler {
	resolver := &request.RequestInfoFactory{}
	handler = genericapifilters.WithAuthorization(handler, config.Authorization.Authorizer, scheme.Codecs)
	handler = genericapifilters.WithAuthentication(handler, config.Authentication.Authenticator, genericapifilters.Unauthorized(scheme.Codecs), nil, nil)
	handler = genericapifilters.WithRequestInfo(handler, resolver)
	handler = genericapifilters.WithCacheControl(handler)
	handler = genericfilters.WithHTTPLogging(handler)
	return genericfilters.WithPanicRecovery(handler, resolver)
}
