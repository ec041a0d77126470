package connect

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/httpstream"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/portforward"
	"k8s.io/client-go/transport/spdy"

	"github.com/hyperconverge/scheduler/pkg/debug"
)

// viewer is the role that the manifests have for those who ask.
const viewer = "bind the ClusterRole hyperconverge:viewer, and the Role of that name in the scheduler's namespace"

// ask gets the state of the scheduler. Without an endpoint that was named, it is no error
// that nobody answers.
func (o *Options) ask(ctx context.Context, s *Session) (err error) {
	switch {
	case o.SchedulerEndpoint != "":
		if s.State, err = o.askEndpoint(ctx, s); err != nil {
			return err
		}
	case o.Storage.Endpoint != "":
		return nil
	default:
		if s.State, err = o.askLeader(ctx, s); err != nil {
			if ctx.Err() != nil {
				return context.Cause(ctx)
			}
			s.Unknown = append(s.Unknown, fmt.Sprintf("Where the replicas are is not known, because the scheduler could not be asked: %v. "+
				"Name its endpoint by --scheduler-endpoint, its namespace by --scheduler-namespace, or ask storage by --storage-endpoint.", err))
			return nil
		}
	}
	s.Waiting = s.State.Waiting
	return nil
}

func (o *Options) askEndpoint(ctx context.Context, s *Session) (*debug.State, error) {
	target, err := url.Parse(o.SchedulerEndpoint)
	if err != nil || target.Scheme != "https" || target.Host == "" || target.User != nil || strings.Trim(target.Path, "/") != "" || target.RawQuery != "" {
		return nil, fmt.Errorf("--scheduler-endpoint %q: want https://HOST:PORT", o.SchedulerEndpoint)
	}
	ip := net.ParseIP(target.Hostname())
	loopback := ip != nil && ip.IsLoopback() || target.Hostname() == "localhost"
	// The scheduler makes a certificate for itself unless it is given one. What listens
	// on this machine is trusted as far as the machine is.
	tls := rest.TLSClientConfig{CAFile: o.SchedulerCAFile, Insecure: o.SchedulerCAFile == "" && loopback}
	state, err := fetch(ctx, s.RESTConfig, target.Host, tls)
	if err != nil {
		return nil, fmt.Errorf("asking the scheduler at %s: %w", o.SchedulerEndpoint, err)
	}
	return state, nil
}

// askLeader goes through a port-forward to the pod that holds the lease. The lease is
// looked for in the scheduler's own namespace only: who could make one elsewhere would be
// sent the user's credentials.
func (o *Options) askLeader(ctx context.Context, s *Session) (*debug.State, error) {
	lease, err := s.Client.CoordinationV1().Leases(o.SchedulerNamespace).Get(ctx, o.Lease, metav1.GetOptions{})
	switch {
	case apierrors.IsNotFound(err):
		return nil, fmt.Errorf("there is no lease %s in the namespace %s", o.Lease, o.SchedulerNamespace)
	case apierrors.IsForbidden(err):
		return nil, fmt.Errorf("you may not get the lease %s in the namespace %s (%s)", o.Lease, o.SchedulerNamespace, viewer)
	case err != nil:
		return nil, err
	}
	pod, err := leaderPod(lease.Spec.HolderIdentity)
	if err != nil {
		return nil, fmt.Errorf("lease %s in the namespace %s: %w", o.Lease, o.SchedulerNamespace, err)
	}
	stop, ready := make(chan struct{}), make(chan struct{})
	forwarder, err := o.forward(s, pod, stop, ready)
	if err != nil {
		return nil, err
	}
	failed := make(chan error, 1)
	go func() { failed <- forwarder.ForwardPorts() }()
	defer func() {
		close(stop)
		_ = <-failed //nolint:staticcheck // what was asked is answered by now, or that has failed before
	}()
	select {
	case err := <-failed:
		failed <- nil
		if apierrors.IsForbidden(err) {
			err = fmt.Errorf("you may not create pods/portforward in the namespace %s (%s)", o.SchedulerNamespace, viewer)
		}
		return nil, fmt.Errorf("port-forward to pod %s/%s: %w", o.SchedulerNamespace, pod, err)
	case <-ctx.Done():
		return nil, context.Cause(ctx)
	case <-ready:
	}
	ports, err := forwarder.GetPorts()
	if err != nil {
		return nil, err
	}
	// The certificate is one that the scheduler has made for itself. That the pod is the
	// one of that name in that namespace is what the API server says.
	state, err := fetch(ctx, s.RESTConfig, net.JoinHostPort("127.0.0.1", strconv.Itoa(int(ports[0].Local))), rest.TLSClientConfig{Insecure: true})
	if err != nil {
		return nil, fmt.Errorf("asking pod %s/%s: %w", o.SchedulerNamespace, pod, err)
	}
	return state, nil
}

// leaderPod is the name of the pod that holds a lease: identities are POD_UUID.
func leaderPod(identity *string) (string, error) {
	if identity == nil || *identity == "" {
		return "", errors.New("nobody holds it, the scheduler does not run")
	}
	end := strings.LastIndexByte(*identity, '_')
	if end <= 0 {
		return "", fmt.Errorf("its holder %q is no pod", *identity)
	}
	return (*identity)[:end], nil
}

func (o *Options) forward(s *Session, pod string, stop <-chan struct{}, ready chan struct{}) (*portforward.PortForwarder, error) {
	target := s.Client.CoreV1().RESTClient().Post().Resource("pods").Namespace(o.SchedulerNamespace).Name(pod).SubResource("portforward").URL()
	transport, upgrader, err := spdy.RoundTripperFor(s.RESTConfig)
	if err != nil {
		return nil, err
	}
	old := spdy.NewDialer(upgrader, &http.Client{Transport: transport}, http.MethodPost, target)
	current, err := portforward.NewSPDYOverWebsocketDialer(target, s.RESTConfig)
	if err != nil {
		return nil, err
	}
	dialer := portforward.NewFallbackDialer(current, old, func(err error) bool {
		return httpstream.IsUpgradeFailure(err) || httpstream.IsHTTPSProxyError(err)
	})
	return portforward.NewOnAddresses(dialer, []string{"127.0.0.1"}, []string{fmt.Sprintf("0:%d", o.DebugPort)}, stop, ready, io.Discard, io.Discard)
}

const (
	// askAgain is what the endpoint asks for in Retry-After.
	askAgain = time.Second
	// maxState bounds an answer: a hundred thousand volumes take about 50 MB.
	maxState = 512 << 20
)

// fetch gets the state with the user's credentials.
func fetch(ctx context.Context, user *rest.Config, host string, tls rest.TLSClientConfig) (*debug.State, error) {
	config := rest.CopyConfig(user)
	config.Host, config.APIPath, config.Proxy = "https://"+host, "", nil
	tls.CertData, tls.CertFile, tls.KeyData, tls.KeyFile = user.CertData, user.CertFile, user.KeyData, user.KeyFile
	config.TLSClientConfig = tls
	client, err := rest.HTTPClientFor(config)
	if err != nil {
		return nil, err
	}
	defer client.CloseIdleConnections()
	// The credentials go to whom the user has named, and to nobody else.
	client.CheckRedirect = func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, config.Host+debug.PathState, nil)
	if err != nil {
		return nil, err
	}
	response, err := client.Do(request)
	for err == nil && response.StatusCode == http.StatusTooManyRequests { // others ask, too
		_ = response.Body.Close()
		select {
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		case <-time.After(askAgain):
			response, err = client.Do(request)
		}
	}
	if err != nil {
		if strings.Contains(err.Error(), "connection refused") {
			return nil, errors.New("nobody listens there: is debugPort of the scheduler 0, or another?")
		}
		return nil, err
	}
	defer func() { _ = response.Body.Close() }()
	switch response.StatusCode {
	case http.StatusOK:
	case http.StatusUnauthorized, http.StatusForbidden:
		return nil, fmt.Errorf("you may not get %s (%s)", debug.PathState, viewer)
	default:
		return nil, fmt.Errorf("%s: %d %s", debug.PathState, response.StatusCode, http.StatusText(response.StatusCode))
	}
	var state debug.State
	if err := json.NewDecoder(io.LimitReader(response.Body, maxState)).Decode(&state); err != nil {
		return nil, fmt.Errorf("reading its answer: %w", err)
	}
	if state.Kind != debug.Kind || state.Index == nil {
		return nil, errors.New("its answer is none of a scheduler with the plugin")
	}
	return &state, nil
}
