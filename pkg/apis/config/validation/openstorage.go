package validation

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	apivalidation "k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/hyperconverge/scheduler/pkg/apis/config"
)

func validateOpenStorage(path *field.Path, storage *config.OpenStorage) field.ErrorList {
	var errs field.ErrorList
	errs = append(errs, validateEndpoint(path.Child("endpoint"), storage.Endpoint)...)
	errs = append(errs, validateToken(path, storage)...)
	errs = append(errs, validateTLS(path.Child("tls"), &storage.TLS)...)
	errs = append(errs, validatePositive(path.Child("nodePollInterval"), storage.NodePollInterval)...)
	errs = append(errs, validateResyncInterval(path.Child("resyncInterval"), storage)...)
	errs = append(errs, validatePositive(path.Child("requestTimeout"), storage.RequestTimeout)...)
	if backoff := storage.WatchBackoff.Duration; backoff < minWatchBackoff {
		errs = append(errs, field.Invalid(path.Child("watchBackoff"), backoff.String(),
			fmt.Sprintf("must be at least %s", minWatchBackoff)))
	}
	return errs
}

func validateToken(path *field.Path, storage *config.OpenStorage) field.ErrorList {
	if storage.TokenFile == "" || storage.TLS.Enabled || storage.AllowPlaintextToken {
		return nil
	}
	return field.ErrorList{field.Invalid(path.Child("tokenFile"), storage.TokenFile,
		fmt.Sprintf("the token would go over an unencrypted connection: set %s to true, or %s to true if everyone on the way may read it",
			path.Child("tls", "enabled"), path.Child("allowPlaintextToken")))}
}

// validateTLS refuses what would silently have no effect.
func validateTLS(path *field.Path, tls *config.TLS) field.ErrorList {
	if tls.Enabled {
		return nil
	}
	var errs field.ErrorList
	for _, setting := range []struct{ name, value string }{
		{"caFile", tls.CAFile},
		{"serverName", tls.ServerName},
	} {
		if setting.value != "" {
			errs = append(errs, field.Invalid(path.Child(setting.name), setting.value,
				fmt.Sprintf("has no effect without TLS: set %s to true or leave it out", path.Child("enabled"))))
		}
	}
	return errs
}

func validateResyncInterval(path *field.Path, storage *config.OpenStorage) field.ErrorList {
	if errs := validatePositive(path, storage.ResyncInterval); errs != nil {
		return errs
	}
	if storage.ResyncInterval.Duration < storage.NodePollInterval.Duration {
		return field.ErrorList{field.Invalid(path, storage.ResyncInterval.Duration.String(),
			fmt.Sprintf("must be at least nodePollInterval (%s)", storage.NodePollInterval.Duration))}
	}
	return nil
}

// validateEndpoint wants an address that gRPC takes: host:port, dns:///host:port
// or unix:///path.
func validateEndpoint(path *field.Path, endpoint string) field.ErrorList {
	const forms = "must be host:port, dns:///host:port or unix:///path"
	if endpoint == "" {
		return field.ErrorList{field.Required(path, forms+"; leave it out for the default")}
	}
	address := endpoint
	if scheme, rest, found := strings.Cut(endpoint, "://"); found {
		switch scheme {
		case "unix":
			if len(rest) < 2 || rest[0] != '/' {
				return field.ErrorList{field.Invalid(path, endpoint, "the path of a unix socket is absolute: unix:///path")}
			}
			return nil
		case "dns":
			name, found := strings.CutPrefix(rest, "/")
			if !found {
				return field.ErrorList{field.Invalid(path, endpoint, "two slashes name a DNS server: write dns:///host:port, with three")}
			}
			address = name
		default:
			return field.ErrorList{field.Invalid(path, endpoint, forms+", not "+scheme+"://")}
		}
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return field.ErrorList{field.Invalid(path, endpoint, forms+": "+err.Error())}
	}
	var errs field.ErrorList
	if !isHost(host) {
		errs = append(errs, field.Invalid(path, endpoint, fmt.Sprintf("%q is neither a host name nor an IP address", host)))
	}
	if number, err := strconv.ParseUint(port, 10, 16); err != nil || number == 0 {
		errs = append(errs, field.Invalid(path, endpoint, fmt.Sprintf("port %q is not a number from 1 to 65535", port)))
	}
	return errs
}

// isHost takes names in any case, and with the dot at the end that makes a name
// absolute.
func isHost(host string) bool {
	if _, err := netip.ParseAddr(host); err == nil {
		return true
	}
	name := strings.ToLower(strings.TrimSuffix(host, "."))
	return len(apivalidation.IsDNS1123Subdomain(name)) == 0
}
