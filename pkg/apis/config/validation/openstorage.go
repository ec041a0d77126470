package validation

import (
	"fmt"

	"k8s.io/apimachinery/pkg/util/validation/field"

	"github.com/hyperconverge/scheduler/pkg/apis/config"
	"github.com/hyperconverge/scheduler/pkg/volumes/openstorage/endpoint"
)

func validateOpenStorage(path *field.Path, storage *config.OpenStorage) field.ErrorList {
	var errs field.ErrorList
	errs = append(errs, validateEndpoint(path.Child("endpoint"), storage.Endpoint)...)
	errs = append(errs, validateToken(path, storage)...)
	errs = append(errs, validateTLS(path.Child("tls"), &storage.TLS)...)
	errs = append(errs, validateAtLeast(path.Child("nodePollInterval"), storage.NodePollInterval, minPollInterval)...)
	errs = append(errs, validateResyncInterval(path.Child("resyncInterval"), storage)...)
	errs = append(errs, validateAtLeast(path.Child("requestTimeout"), storage.RequestTimeout, minRequestTimeout)...)
	errs = append(errs, validateAtLeast(path.Child("watchBackoff"), storage.WatchBackoff, minWatchBackoff)...)
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
	if errs := validateAtLeast(path, storage.ResyncInterval, minPollInterval); errs != nil {
		return errs
	}
	if storage.ResyncInterval.Duration < storage.NodePollInterval.Duration {
		return field.ErrorList{field.Invalid(path, storage.ResyncInterval.Duration.String(),
			fmt.Sprintf("must be at least nodePollInterval (%s)", storage.NodePollInterval.Duration))}
	}
	return nil
}

// validateEndpoint wants an address that the client of the storage API takes.
func validateEndpoint(path *field.Path, address string) field.ErrorList {
	if address == "" {
		return field.ErrorList{field.Required(path, endpoint.Forms+"; leave it out for the default")}
	}
	if _, err := endpoint.Target(address); err != nil {
		return field.ErrorList{field.Invalid(path, address, err.Error())}
	}
	return nil
}
