package openstorage

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"strings"
	"syscall"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/hyperconverge/scheduler/pkg/volumes/openstorage/endpoint"
)

// What to do about what is wrong with the storage API. docs/troubleshoot.md has each of
// these sentences with more about it.
const (
	// AdviceService is for an endpoint that may be another Service.
	AdviceService = "Find the Service of the storage API with kubectl get svc -A --field-selector metadata.name=portworx-api, " +
		"and set openStorage.endpoint to portworx-api.NAMESPACE.svc:9020."

	adviceDNS = "The cluster's DNS does not answer: look at kubectl -n kube-system get pods -l k8s-app=kube-dns, " +
		"and let the NetworkPolicy of the scheduler pass its port."
	adviceRefused = "Nothing listens there: see that the storage pods run (kubectl get pods -A -l name=portworx), " +
		"and that the port of openStorage.endpoint is that of the Service's port px-sdk."
	adviceSilent = "Nobody answers there: let the NetworkPolicy of the scheduler pass the targetPort of the Service's port px-sdk, " +
		"and see that the storage pods run (kubectl get pods -A -l name=portworx)."
	adviceSocket = "Mount the directory of the socket from the node so that the scheduler's user may write to the socket, " +
		"or set openStorage.endpoint to the host and port of a Service."
	adviceServerHasTLS = "The server wants TLS: set openStorage.tls.enabled to true, " +
		"and openStorage.tls.caFile to the authority that has signed the server's certificate."
	adviceServerHasNoTLS = "The server has no TLS at that port: turn it on in the storage system, " +
		"or set openStorage.tls.enabled to false if the network is trusted."
	adviceServerName = "Set openStorage.tls.serverName to a name that the certificate is for, " +
		"or have one made for the host of openStorage.endpoint."
	adviceAuthority = "Put the certificate of the authority that has signed the server's into the file of openStorage.tls.caFile, in PEM form."
	adviceExpired   = "Renew the certificate of the storage system, and see that the clocks of the nodes are right."
	// adviceCertificate is for what is wrong with a certificate in rarer ways.
	adviceCertificate = "The server's certificate cannot be used: have the storage system make another one, for servers and for the host of openStorage.endpoint."
	adviceHandshake   = "The server ends the TLS handshake: look into its log. Where it has no TLS, turn it on, or set openStorage.tls.enabled to false if the network is trusted; " +
		"one that asks its clients for certificates cannot be used."
	adviceNoGRPC = "What listens there speaks no gRPC, or is about to start: if that lasts, set the port of openStorage.endpoint to that of the Service's port px-sdk, " +
		"usually 9020, which is neither the REST gateway's nor the management's."
	adviceNoSDK = "What listens there is no OpenStorage SDK: set openStorage.endpoint to the Service portworx-api and its port px-sdk, usually 9020."
	// adviceNoToken is for a server with authorization, and a scheduler without.
	adviceNoToken = "The storage system wants a token: set openStorage.tokenFile to one, as section \"Storage with authorization and TLS\" of docs/install.md has it."
	adviceToken   = "Make a new token for openStorage.tokenFile: this one has expired, or its issuer or secret is none that the storage system knows."
	adviceRights  = "Give the scheduler's token the role system.view or system.admin, and the group *."
	// adviceTokenFile is for a token that the process cannot read.
	adviceTokenFile = "Mount the Secret with the token so that openStorage.tokenFile names its key; the file holds the token alone."
	adviceSlow      = "The server takes connections and does not answer within openStorage.requestTimeout: look at the load and the log of the storage pods (kubectl get pods -A -l name=portworx)."
	adviceFails     = "The server answers with an error of its own, as it does while it starts or is in maintenance: if that lasts, look at the log of the storage pods (kubectl get pods -A -l name=portworx)."

	adviceForeign = "See that openStorage.endpoint belongs to this cluster, and that the scheduler's token has the group *."
	adviceTooFew  = "Give the scheduler's token the group *, and look for PersistentVolumes whose volume is gone."
	adviceText    = "Correct the text in the storage system."
	adviceWatch   = "Look for a proxy or a load balancer that cuts streams between the scheduler and storage; a storage system that is too old for watches is polled for ever."
)

// ErrCAFile is in the chain of an error about a file of authorities that cannot be used.
var ErrCAFile = errors.New("certificate authority")

// errHandshake is in the chain of an error that ended a TLS handshake, errNoGRPC in that
// of a call to something that is no gRPC server, and errServerHasTLS in that of a call
// without TLS to a server with it.
var (
	errHandshake    = errors.New("TLS handshake")
	errNoGRPC       = errors.New("no gRPC server answers")
	errServerHasTLS = errors.New("the server speaks TLS, and this client is told not to")
)

// advise says what to do about a call that has failed, in one sentence or two. The error
// is that of the call, or what probe has found in its stead. The advice repeats nothing
// that a server says but the names in its certificate.
func advise(config *Config, err error) string {
	if advice := adviseOnConnection(err); advice != "" {
		return advice
	}
	switch message := status.Convert(err).Message(); {
	case notOfGRPC(message):
		return adviceNoGRPC
	case status.Code(err) == codes.Unimplemented:
		return adviceNoSDK
	case kindOf(err) == refused && config.TokenFile == "":
		return adviceNoToken
	case status.Code(err) == codes.Unauthenticated:
		return adviceToken
	case status.Code(err) == codes.PermissionDenied:
		return adviceRights
	case status.Code(err) == codes.DeadlineExceeded:
		return adviceSlow
	default:
		return adviceFails
	}
}

// adviseOnConnection says what to do about a server that is not reached; nothing if the
// error tells of none.
func adviseOnConnection(err error) string {
	var (
		lookup *net.DNSError
		dialed *net.OpError
	)
	switch {
	case errors.As(err, &lookup) && lookup.IsNotFound:
		return AdviceService
	case errors.As(err, &lookup):
		return adviceDNS
	case errors.Is(err, errServerHasTLS):
		return adviceServerHasTLS
	case errors.Is(err, errNoGRPC):
		return adviceNoGRPC
	case errors.Is(err, errHandshake):
		return adviseOnHandshake(err)
	case errors.As(err, &dialed) && dialed.Net == "unix":
		return adviceSocket
	case errors.Is(err, syscall.ECONNREFUSED):
		return adviceRefused
	case dialed != nil:
		return adviceSilent // a packet that is lost, or that somebody on the way turns back
	default:
		return ""
	}
}

func adviseOnHandshake(err error) string {
	var (
		name      x509.HostnameError
		authority x509.UnknownAuthorityError
		invalid   x509.CertificateInvalidError
		header    tls.RecordHeaderError
		chain     *tls.CertificateVerificationError
	)
	switch {
	case errors.Is(err, ErrCAFile), errors.As(err, &authority):
		return adviceAuthority
	case errors.As(err, &name):
		return namesOf(name.Certificate) + adviceServerName
	case errors.As(err, &invalid) && invalid.Reason == x509.Expired:
		return adviceExpired
	case errors.As(err, &invalid), errors.As(err, &chain):
		return adviceCertificate
	case errors.As(err, &header):
		return adviceServerHasNoTLS
	default:
		return adviceHandshake
	}
}

// namesShown is how many names of a certificate are told, and nameShown how much of one:
// whoever answers at the endpoint may have any.
const (
	namesShown = 4
	nameShown  = 64
)

// namesOf says what names a certificate is for.
func namesOf(certificate *x509.Certificate) string {
	names := certificate.DNSNames
	for _, ip := range certificate.IPAddresses {
		names = append(names, ip.String())
	}
	if len(names) == 0 {
		return "The certificate is for no name at all. "
	}
	more := ""
	if surplus := len(names) - namesShown; surplus > 0 {
		names, more = names[:namesShown], fmt.Sprintf(" and %d more", surplus)
	}
	quoted := make([]string, len(names))
	for i, name := range names {
		quoted[i] = fmt.Sprintf("%.*q", nameShown, name)
	}
	return "The certificate is for " + strings.Join(quoted, ", ") + more + ". "
}

// notOfGRPC reports whether gRPC complains of an answer that is HTTP, and none of gRPC.
func notOfGRPC(message string) bool {
	return strings.Contains(message, "unexpected HTTP status code received from server") ||
		strings.Contains(message, "received unexpected content-type")
}

// probeTimeout is how long a probe may take: one that waits for packets that are dropped
// keeps the next node poll waiting.
const probeTimeout = 5 * time.Second

// cause returns why a call has failed: what a probe finds where there is no connection,
// and the error of the call where the server has given it.
func (c *client) cause(ctx context.Context, failure error) error {
	if k := kindOf(failure); k != unreachable && status.Code(failure) != codes.DeadlineExceeded || c.conn.ready() {
		return failure
	}
	return probe(ctx, c.config, failure)
}

// probe goes the way of a connection step by step, and returns what fails first: gRPC
// says of a name that does not resolve that the resolver produced no addresses, and of all
// else in one text. It returns the error of the call where the way is free by now.
func probe(ctx context.Context, config *Config, failure error) error {
	network, address := endpoint.Address(config.Endpoint)
	ctx, cancel := context.WithTimeout(ctx, min(config.RequestTimeout, probeTimeout))
	defer cancel()
	conn, err := (&net.Dialer{}).DialContext(ctx, network, address)
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close() }() // nothing was sent that matters
	if config.TLS.Enabled {
		return probeTLS(ctx, conn, config, address, failure)
	}
	return probePlain(ctx, conn, address, failure)
}

// greetingTimeout is how long a server may take to greet after the handshake.
const greetingTimeout = time.Second

// probeTLS makes a handshake, and reads what comes first: from TLS 1.3 on, a server looks
// at its client's certificate after the handshake, and says so to who reads.
func probeTLS(ctx context.Context, conn net.Conn, config *Config, address string, failure error) error {
	secure, _, err := (&freshTLS{settings: config.TLS}).ClientHandshake(ctx, address, conn)
	if err != nil {
		return fmt.Errorf("%w: %w", errHandshake, err)
	}
	_ = secure.SetReadDeadline(time.Now().Add(greetingTimeout)) // the connection is one of TCP
	if _, err := secure.Read(make([]byte, 1)); saysAlert(err) {
		return fmt.Errorf("%w: %w", errHandshake, err)
	}
	return failure
}

// saysAlert reports whether the other side has ended TLS with an alert.
func saysAlert(err error) bool {
	var ended *net.OpError
	return errors.As(err, &ended) && ended.Op == "remote error"
}

// probePlain finds out who listens that does not answer without TLS. The handshake sends
// nothing but a greeting, and needs no certificate to be good: one that is bad says as much.
func probePlain(ctx context.Context, conn net.Conn, address string, failure error) error {
	host, _, err := net.SplitHostPort(address)
	if err != nil {
		host = "localhost" // a socket has no name
	}
	err = tls.Client(conn, &tls.Config{MinVersion: tls.VersionTLS12, ServerName: host}).HandshakeContext(ctx)
	var (
		header tls.RecordHeaderError
		chain  *tls.CertificateVerificationError
	)
	switch {
	case err == nil, errors.As(err, &chain), saysAlert(err):
		return errServerHasTLS
	case errors.As(err, &header) && isSettings(header.RecordHeader):
		return failure // a server of HTTP/2, which has come meanwhile
	default:
		return fmt.Errorf("%w: %s", errNoGRPC, status.Convert(failure).Message())
	}
}

// isSettings reports whether these bytes begin the frame of HTTP/2 by which a server
// greets (RFC 9113, section 3.4): 24 bits of length and a type, of which this is 4.
func isSettings(header [5]byte) bool { return header[0] == 0 && header[3] == 4 && header[4] == 0 }
