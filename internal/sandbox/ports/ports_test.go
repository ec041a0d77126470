package ports

import (
	"net"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

const flag = "--some-port"

func TestAReservedPortIsOnlyForThoseWhoShareIt(t *testing.T) {
	r := reserve(t, 0)
	if r.Port() == 0 || r.Address() != net.JoinHostPort(Loopback, strconv.Itoa(r.Port())) {
		t.Fatalf("reserved port %d, address %s", r.Port(), r.Address())
	}

	if l, err := net.Listen("tcp", r.Address()); err == nil {
		_ = l.Close()
		t.Error("a program that does not share the port could take it")
	}

	// What the components do with --permit-port-sharing.
	shared := net.ListenConfig{Control: func(_, _ string, c syscall.RawConn) error {
		var failed error
		err := c.Control(func(fd uintptr) {
			failed = unix.SetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_REUSEPORT, 1)
		})
		if err != nil {
			return err
		}
		return failed
	}}
	listener, err := shared.Listen(t.Context(), "tcp", r.Address())
	if err != nil {
		t.Fatalf("the program that the port is reserved for cannot listen: %v", err)
	}
	defer func() { _ = listener.Close() }()
	// Every connection must reach it: the reservation itself does not listen.
	for range 20 {
		connection, err := net.Dial("tcp", r.Address())
		if err != nil {
			t.Fatal(err)
		}
		_ = connection.Close()
	}
}

func TestAReleasedPortIsFree(t *testing.T) {
	r := reserve(t, 0)
	port := r.Port()
	r.Release()
	again := reserve(t, port)
	if again.Port() != port {
		t.Errorf("reserved %d, want %d", again.Port(), port)
	}
}

func TestAPortThatCannotBeHadIsNamedWithItsFlag(t *testing.T) {
	listener, err := net.Listen("tcp", net.JoinHostPort(Loopback, "0"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = listener.Close() }()
	busy := listener.Addr().(*net.TCPAddr).Port

	for name, row := range map[string]struct {
		port int
		want string
	}{
		"another program listens":         {busy, "is in use by another program"},
		"another sandbox has reserved it": {reserve(t, 0).Port(), "is in use by another program"},
		"a negative number":               {-1, "does not exist"},
		"too high a number":               {65536, "does not exist"},
	} {
		t.Run(name, func(t *testing.T) {
			r, err := Reserve(row.port, flag)
			if err == nil {
				r.Release()
				t.Fatal("it was reserved")
			}
			for _, want := range []string{row.want, flag, strconv.Itoa(row.port)} {
				if !strings.Contains(err.Error(), want) {
					t.Errorf("error %q does not say %q", err, want)
				}
			}
		})
	}
}

func reserve(t *testing.T, port int) *Reservation {
	t.Helper()
	r, err := Reserve(port, flag)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.Release)
	return r
}
