package chaos

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"github.com/hyperconverge/scheduler/internal/openstoragesim"
)

func TestAPIProxy(t *testing.T) {
	var served atomic.Int32
	upstream := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		served.Add(1)
		if isWatch(r) {
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}
		_, _ = io.WriteString(w, "done")
	}))
	defer upstream.Close()
	pool := x509.NewCertPool()
	pool.AddCert(upstream.Certificate())
	authority, err := newAuthority()
	if err != nil {
		t.Fatal(err)
	}
	pair, err := authority.pair("kubernetes.test", time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	p, err := startAPIProxy(upstream.URL, &tls.Config{RootCAs: pool}, pair)
	if err != nil {
		t.Fatal(err)
	}
	defer p.stop()
	get := func(path string) (string, int, error) {
		response, err := caller.Get(p.url() + path)
		if err != nil {
			return "", 0, err
		}
		defer func() { _ = response.Body.Close() }()
		body, err := io.ReadAll(response.Body)
		return string(body), response.StatusCode, err
	}

	if body, _, err := get("/a"); err != nil || body != "done" {
		t.Errorf("a request is not handed on: %q, %v", body, err)
	}
	p.fault(isAny, answers(500, "InternalError"))
	p.fault(ofResource("b"), lost)
	if _, code, err := get("/a"); err != nil || code != 500 {
		t.Errorf("a fault answers %d, %v", code, err)
	}
	before := served.Load()
	if _, _, err := get("/b"); err == nil || served.Load() != before+1 {
		t.Errorf("an answer that is lost: %v, and %d requests came through", err, served.Load()-before)
	}
	p.heal()
	if _, code, err := get("/b"); err != nil || code != 200 {
		t.Errorf("after the fault: %d, %v", code, err)
	}
	ended := make(chan error)
	go func() { _, _, err := get("/c?watch=1"); ended <- err }()
	for p.cutWatches() == 0 {
		time.Sleep(time.Millisecond)
	}
	<-ended
}

func TestStorageServer(t *testing.T) {
	sim := openstoragesim.NewServer(openstoragesim.NewCluster(openstoragesim.Options{}), openstoragesim.ServerOptions{})
	if err := sim.Start("127.0.0.1:0"); err != nil {
		t.Fatal(err)
	}
	defer sim.Stop()
	made, err := sim.Cluster().AddNode(openstoragesim.Node{SchedulerNodeName: "n"})
	if err != nil {
		t.Fatal(err)
	}
	authority, err := newAuthority()
	if err != nil {
		t.Fatal(err)
	}
	pair, err := authority.pair(storageName, time.Now().Add(time.Hour))
	if err != nil {
		t.Fatal(err)
	}
	s, err := startStorageServer("127.0.0.1:0", sim.Endpoint(), pair)
	if err != nil {
		t.Fatal(err)
	}
	defer s.stop()
	pool := x509.NewCertPool()
	pool.AddCert(authority.certificate)
	client, err := grpc.NewClient(s.address(), grpc.WithDefaultCallOptions(grpc.ForceCodecV2(raw{})),
		grpc.WithTransportCredentials(credentials.NewTLS(&tls.Config{RootCAs: pool, ServerName: storageName})))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	ask := func(method string, request wire) (string, error) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		in, out := []byte(request), []byte(nil)
		err := client.Invoke(ctx, "/openstorage.api.OpenStorage"+method, &in, &out)
		return string(out), err
	}

	nodes, err := ask("Node/EnumerateWithFilters", nil)
	if err != nil || !strings.Contains(nodes, made.ID) {
		t.Errorf("the nodes are %q, %v", nodes, err)
	}
	s.lie(inspect, "", fails(codes.Internal))
	s.lie(inspect, "7", says(garbage))
	if answer, err := ask("Volume/Inspect", text(1, "7")); err != nil || answer != string(garbage) {
		t.Errorf("the lie about one volume: %q, %v", answer, err)
	}
	if _, err := ask("Volume/Inspect", text(1, "8")); status.Code(err) != codes.Internal {
		t.Errorf("the lie about the others: %v", err)
	}
	if s.countOf("7") != 1 || s.count(inspect) != 2 {
		t.Errorf("counted %d and %d", s.countOf("7"), s.count(inspect))
	}
	s.heal()
	if _, err := ask("Volume/Inspect", text(1, "8")); status.Code(err) != codes.NotFound {
		t.Errorf("after the lies: %v", err)
	}
}
