package openstorage

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/libopenstorage/openstorage/api"
	"google.golang.org/grpc"
	"google.golang.org/grpc/backoff"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/keepalive"
	"google.golang.org/grpc/status"

	"github.com/hyperconverge/scheduler/pkg/metrics"
	"github.com/hyperconverge/scheduler/pkg/volumes/openstorage/endpoint"
)

const (
	// maxAnswer is the largest answer that is taken, in bytes: a volume has about a
	// thousand.
	maxAnswer = 16 << 20
	// maxList is that of a list. The node list of a large cluster has every disk of
	// every node in it, and that of the ids 22 bytes for every volume.
	maxList = 256 << 20
	// reconnectDelay is the longest pause between two attempts to connect; the
	// default of two minutes would outlast many an outage.
	reconnectDelay = 5 * time.Second
	// A connection on which nothing was heard for this long is probed. It is also
	// at least two node polls, so that a healthy one is never probed: servers
	// punish that.
	keepaliveTime    = 30 * time.Second
	keepaliveTimeout = 10 * time.Second
)

// client is the connection and the services of it that are used.
type client struct {
	config  *Config
	conn    *connection
	volumes api.OpenStorageVolumeClient
	nodes   api.OpenStorageNodeClient
	watch   api.OpenStorageWatchClient
}

// dial makes the client. It does not wait for the server.
func dial(config *Config, token *tokenFile, invalidText func(where, text string)) (*client, error) {
	transport := insecure.NewCredentials()
	if config.TLS.Enabled {
		tlsConfig, err := tlsConfigOf(context.Background(), &config.TLS)
		if err != nil {
			return nil, err
		}
		transport = &freshTLS{TransportCredentials: credentials.NewTLS(tlsConfig), settings: config.TLS}
	}
	timeout := config.RequestTimeout
	options := []grpc.DialOption{
		grpc.WithTransportCredentials(transport),
		// The storage API is in the cluster. A proxy that is meant for other calls of the
		// process must not be given the token, nor be able to stand in for storage.
		grpc.WithNoProxy(),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(maxAnswer), grpc.ForceCodecV2(newTextCodec(invalidText))),
		grpc.WithConnectParams(grpc.ConnectParams{
			Backoff: backoff.Config{
				BaseDelay: 500 * time.Millisecond, Multiplier: 1.6, Jitter: 0.2, MaxDelay: reconnectDelay},
			MinConnectTimeout: timeout,
		}),
		grpc.WithKeepaliveParams(keepalive.ClientParameters{
			Time: max(keepaliveTime, 2*config.NodePollInterval), Timeout: keepaliveTimeout}),
		grpc.WithUnaryInterceptor(func(ctx context.Context, method string, request, reply any,
			conn *grpc.ClientConn, invoke grpc.UnaryInvoker, options ...grpc.CallOption) error {
			ctx, cancel := context.WithTimeout(ctx, timeout)
			defer cancel()
			start := time.Now()
			err := token.redact(invoke(ctx, method, request, reply, conn, options...))
			name := methodName(method)
			metrics.StorageRequests.WithLabelValues(name, codeOf(err)).Inc()
			metrics.StorageRequestDuration.WithLabelValues(name).Observe(time.Since(start).Seconds())
			if status.Code(err) == codes.Unauthenticated {
				token.expire()
			}
			return err
		}),
	}
	if token != nil {
		options = append(options, grpc.WithPerRPCCredentials(token))
	}
	target, err := endpoint.Target(config.Endpoint)
	if err != nil {
		return nil, fmt.Errorf("endpoint %q: %w", config.Endpoint, err)
	}
	conn, err := newConnection(func() (*grpc.ClientConn, error) { return grpc.NewClient(target, options...) })
	if err != nil {
		return nil, fmt.Errorf("endpoint %q: %w", config.Endpoint, err)
	}
	return &client{
		config:  config,
		conn:    conn,
		volumes: api.NewOpenStorageVolumeClient(conn),
		nodes:   api.NewOpenStorageNodeClient(conn),
		watch:   api.NewOpenStorageWatchClient(conn),
	}, nil
}

// listOption is for the calls whose answers are lists.
func listOption() grpc.CallOption { return grpc.MaxCallRecvMsgSize(maxList) }

// codeOf is the label of an outcome. Numbers that gRPC does not know are one, or a
// server could make a time series of each.
func codeOf(err error) string {
	code := status.Code(err)
	if code > codes.Unauthenticated {
		code = codes.Unknown
	}
	return code.String()
}

// tlsConfigOf trusts the system's certificate authorities and those of the file.
func tlsConfigOf(ctx context.Context, t *TLSOptions) (*tls.Config, error) {
	config := &tls.Config{MinVersion: tls.VersionTLS12, ServerName: t.ServerName}
	if t.CAFile == "" {
		return config, nil
	}
	pem, err := startRead(t.CAFile).await(ctx)
	if err != nil {
		return nil, fmt.Errorf("read the %w %s: %w", ErrCAFile, t.CAFile, err)
	}
	if config.RootCAs, err = x509.SystemCertPool(); err != nil {
		config.RootCAs = x509.NewCertPool()
	}
	if !config.RootCAs.AppendCertsFromPEM(pem) {
		return nil, fmt.Errorf("%w: %s holds no certificate in PEM form", ErrCAFile, t.CAFile)
	}
	return config, nil
}

// freshTLS reads the certificate authorities anew for every connection, because
// they are rotated, too.
type freshTLS struct {
	credentials.TransportCredentials
	settings TLSOptions
}

// ClientHandshake implements credentials.TransportCredentials.
func (t *freshTLS) ClientHandshake(ctx context.Context, authority string, conn net.Conn) (net.Conn, credentials.AuthInfo, error) {
	config, err := tlsConfigOf(ctx, &t.settings)
	if err != nil {
		return nil, nil, err
	}
	return credentials.NewTLS(config).ClientHandshake(ctx, authority, conn)
}

// Clone implements credentials.TransportCredentials.
func (t *freshTLS) Clone() credentials.TransportCredentials {
	return &freshTLS{TransportCredentials: t.TransportCredentials.Clone(), settings: t.settings}
}

// methodName shortens /openstorage.api.OpenStorageVolume/Inspect to
// Volume.Inspect.
func methodName(full string) string {
	service, method, _ := strings.Cut(strings.TrimPrefix(full, "/"), "/")
	return strings.TrimPrefix(service, "openstorage.api.OpenStorage") + "." + method
}

// kind sorts the ways in which a call can fail by what is to be done then.
type kind uint8

const (
	answered    kind = iota // no error
	absent                  // storage has no such object
	refused                 // the token is missing, wrong, expired or too weak
	unsent                  // this process has no token to send, and nobody was asked
	unreachable             // the server is not there, or overloaded; or what it needs for this call
	unsupported             // the server does not know the call
	failed                  // anything else: a failure of this call, which may be that it hangs
)

func kindOf(err error) kind {
	if tooLarge(err) {
		return failed // the server is well, and said too much about one thing
	}
	switch status.Code(err) {
	case codes.OK:
		return answered
	case codes.NotFound:
		return absent
	case codes.Unauthenticated, codes.PermissionDenied:
		// gRPC takes these codes for what it says itself, too.
		switch message := status.Convert(err).Message(); {
		case strings.HasPrefix(message, "transport: per-RPC creds failed"):
			return unsent
		case notOfGRPC(message):
			return failed
		}
		return refused
	case codes.Unavailable, codes.Canceled, codes.ResourceExhausted:
		return unreachable
	case codes.Unimplemented:
		return unsupported
	default:
		return failed
	}
}

// tooLarge reports whether the client did not take an answer because of its size,
// which gRPC tells with the code of an overloaded server.
func tooLarge(err error) bool {
	return status.Code(err) == codes.ResourceExhausted &&
		strings.HasPrefix(status.Convert(err).Message(), "grpc: received message")
}
