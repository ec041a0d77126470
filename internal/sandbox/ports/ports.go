// Package ports keeps TCP ports of this machine for processes that are about to
// start.
package ports

import (
	"context"
	"errors"
	"fmt"
	"math"
	"net"
	"os"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"
)

// Loopback is the only address that anything in a sandbox listens on.
const Loopback = "127.0.0.1"

// Reservation keeps a port for a process from before it starts until after it
// has ended.
//
// It is a socket that is bound but does not listen, with SO_REUSEPORT set, and
// the processes are told to set it as well. So the process can bind while
// the reservation stands, nobody else can get the port in between, and
// connections only ever reach the socket that listens.
type Reservation struct {
	number int
	socket *os.File
}

// Reserve takes the port, or a free one for 0. flag names the command line flag
// that chose the port and is for the error.
func Reserve(port int, flag string) (*Reservation, error) {
	if err := CheckFree(port, flag); err != nil {
		return nil, err
	}
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM, 0)
	if err != nil {
		return nil, fmt.Errorf("reserving a port: %w", err)
	}
	unix.CloseOnExec(fd)
	r := &Reservation{socket: os.NewFile(uintptr(fd), "port reservation")}
	if r.number, err = bind(fd, port); err != nil {
		r.Release()
		return nil, portError(port, flag, err)
	}
	return r, nil
}

// bind returns the port that the socket was bound to.
func bind(fd, port int) (int, error) {
	if err := unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEPORT, 1); err != nil {
		return 0, err
	}
	if err := unix.Bind(fd, &unix.SockaddrInet4{Port: port, Addr: [4]byte{127, 0, 0, 1}}); err != nil {
		return 0, err
	}
	bound, err := unix.Getsockname(fd)
	if err != nil {
		return 0, err
	}
	address, ok := bound.(*unix.SockaddrInet4)
	if !ok {
		return 0, fmt.Errorf("bound to %T", bound)
	}
	return address.Port, nil
}

// CheckFree finds out whether anybody has the port, other sandboxes included: two
// sockets of one user that both set SO_REUSEPORT would share it. 0 is free.
func CheckFree(port int, flag string) error {
	switch {
	case port < 0 || port > math.MaxUint16:
		return fmt.Errorf("port %d (%s) does not exist; choose one from 1 to %d, or 0 for any free port", port, flag, math.MaxUint16)
	case port == 0:
		return nil
	}
	listener, err := new(net.ListenConfig).Listen(context.Background(), "tcp4", net.JoinHostPort(Loopback, strconv.Itoa(port)))
	if err != nil {
		return portError(port, flag, err)
	}
	return listener.Close()
}

func portError(port int, flag string, err error) error {
	switch {
	case errors.Is(err, syscall.EADDRINUSE):
		return fmt.Errorf("port %d (%s) is in use by another program; choose another one, or 0 for any free port", port, flag)
	case errors.Is(err, syscall.EACCES):
		return fmt.Errorf("port %d (%s) needs more rights than this user has; choose one above 1023, or 0 for any free port", port, flag)
	default:
		return fmt.Errorf("port %d (%s): %w", port, flag, err)
	}
}

// Port is the port's number, never 0.
func (r *Reservation) Port() int { return r.number }

// Address is host:port.
func (r *Reservation) Address() string {
	return net.JoinHostPort(Loopback, strconv.Itoa(r.number))
}

// Release gives the port up.
func (r *Reservation) Release() { _ = r.socket.Close() }
