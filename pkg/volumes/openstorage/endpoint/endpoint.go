// Package endpoint says which addresses of a storage API there are. The
// validation of the configuration and the client of the storage API both ask it,
// so that what the one lets pass the other can dial.
package endpoint

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"k8s.io/apimachinery/pkg/util/validation"
)

// Forms says how an endpoint is written.
const Forms = "must be host:port, dns:///host:port or unix:///path"

// Target returns the gRPC target of an endpoint that is written in one of the
// Forms. Errors do not repeat the endpoint.
func Target(endpoint string) (string, error) {
	scheme, rest, found := strings.Cut(endpoint, "://")
	if !found {
		// With its scheme, a host that is called like one is still a host.
		return "dns:///" + endpoint, checkAddress(endpoint)
	}
	switch scheme {
	case "unix":
		if len(rest) < 2 || rest[0] != '/' {
			return "", errors.New("the path of a unix socket is absolute: unix:///path")
		}
		if strings.ContainsFunc(rest, func(r rune) bool { return r <= ' ' || r > '~' || strings.ContainsRune("%?#", r) }) {
			return "", errors.New("the path of a unix socket must do without spaces, %, ?, # and what is not ASCII")
		}
		return endpoint, nil
	case "dns":
		address, found := strings.CutPrefix(rest, "/")
		if !found {
			return "", errors.New("two slashes name a DNS server: write dns:///host:port, with three")
		}
		return endpoint, checkAddress(address)
	default:
		return "", errors.New(Forms + ", not " + scheme + "://")
	}
}

// Address returns the network and the address of an endpoint for which Target returns no
// error, as package net wants them.
func Address(endpoint string) (network, address string) {
	if path, unix := strings.CutPrefix(endpoint, "unix://"); unix {
		return "unix", path
	}
	return "tcp", strings.TrimPrefix(endpoint, "dns:///")
}

func checkAddress(address string) error {
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("%s: %w", Forms, err)
	}
	if !isHost(host) {
		return fmt.Errorf("%q is neither a host name nor an IP address", host)
	}
	if number, err := strconv.ParseUint(port, 10, 16); err != nil || number == 0 {
		return fmt.Errorf("port %q is not a number from 1 to 65535", port)
	}
	return nil
}

// isHost takes names in any case, and with the dot at the end that makes a name
// absolute.
func isHost(host string) bool {
	if ip, err := netip.ParseAddr(host); err == nil {
		return ip.Zone() == "" // which no target can have
	}
	name := strings.ToLower(strings.TrimSuffix(host, "."))
	return len(validation.IsDNS1123Subdomain(name)) == 0
}
