package main

import (
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/util/validation"

	configv1 "github.com/hyperconverge/scheduler/pkg/apis/config/v1"
)

// Where the serving certificate comes from.
const (
	selfManaged = "self-managed"
	fromFiles   = "files"
)

// options are the flags.
type options struct {
	schedulerName      string
	ownNames           []string
	replaceAny         bool
	tolerate           bool
	optimizeFSGroup    bool
	drivers            []string
	excludedNamespaces []string

	kubeconfig  string
	namespace   string
	lookupQPS   float64
	lookupBurst int

	bindAddress     string
	port            int
	clientCAFile    string
	opsAddress      string
	shutdownDelay   time.Duration
	shutdownTimeout time.Duration

	certificates        string
	certificateDir      string
	certificateSecret   string
	certificateValidity time.Duration
	certificateSettle   time.Duration
	service             string
	configuration       string

	logFormat string
	logLevel  string
}

func newOptions() *options {
	var scheduler configv1.HyperconvergeArgs // what is a driver's volume is the same for both
	configv1.SetDefaults_HyperconvergeArgs(&scheduler)
	return &options{
		schedulerName:       "hyperconverge-scheduler",
		tolerate:            true,
		drivers:             scheduler.Drivers,
		excludedNamespaces:  []string{"kube-system"},
		namespace:           os.Getenv("POD_NAMESPACE"),
		lookupQPS:           50,
		lookupBurst:         100,
		port:                9443,
		opsAddress:          ":8080",
		shutdownDelay:       5 * time.Second,
		shutdownTimeout:     95 * time.Second,
		certificates:        selfManaged,
		certificateDir:      "/etc/hyperconverge-webhook/certificates",
		certificateSecret:   "hyperconverge-webhook-certificates",
		certificateValidity: 90 * 24 * time.Hour,
		certificateSettle:   time.Minute,
		service:             "hyperconverge-webhook",
		configuration:       "hyperconverge-webhook",
		logFormat:           formatJSON,
		logLevel:            "info",
	}
}

func (o *options) addFlags(flags *pflag.FlagSet) {
	flags.StringVar(&o.schedulerName, "scheduler-name", o.schedulerName, "The schedulerName that pods with volumes of the driver get.")
	flags.StringSliceVar(&o.ownNames, "own-scheduler-names", o.ownNames, "Further names that our scheduler serves: pods that ask for one of them keep it, and get tolerations only.")
	flags.BoolVar(&o.replaceAny, "replace-any-scheduler", o.replaceAny, "Replace any schedulerName, as Stork does, and not only the default one.")
	flags.BoolVar(&o.tolerate, "add-tolerations", o.tolerate, "Give these pods the tolerations for the taints node.portworx.io/px-storage and node.portworx.io/px-storageless.")
	flags.BoolVar(&o.optimizeFSGroup, "enable-fsgroup-optimization", o.optimizeFSGroup, "Give those of these pods that share a volume (ReadWriteMany, ReadOnlyMany) and have an fsGroup, but no fsGroupChangePolicy, the policy OnRootMismatch, as Stork does by its flag of this name.")
	flags.StringSliceVar(&o.drivers, "drivers", o.drivers, "CSI driver and provisioner names whose volumes are the driver's; the same as in the scheduler's configuration.")
	flags.StringSliceVar(&o.excludedNamespaces, "excluded-namespaces", o.excludedNamespaces, "Namespaces whose pods are left alone, besides the webhook's own.")

	flags.StringVar(&o.kubeconfig, "kubeconfig", o.kubeconfig, "Path of a kubeconfig file; not needed inside of the cluster.")
	flags.StringVar(&o.namespace, "namespace", o.namespace, "The webhook's own namespace; POD_NAMESPACE by default.")
	flags.Float64Var(&o.lookupQPS, "lookup-qps", o.lookupQPS, "How many claims, volumes and classes per second may be read from the API server because the caches lack them.")
	flags.IntVar(&o.lookupBurst, "lookup-burst", o.lookupBurst, "How many such reads may come at once.")

	flags.StringVar(&o.bindAddress, "bind-address", o.bindAddress, "Address of the admission endpoint; empty for all addresses.")
	flags.IntVar(&o.port, "port", o.port, "Port of the admission endpoint.")
	flags.StringVar(&o.clientCAFile, "client-ca-file", o.clientCAFile, "PEM file of authorities: only clients with a certificate of one of them are answered at the admission endpoint. Empty answers everybody. It may change at any time.")
	flags.StringVar(&o.opsAddress, "ops-address", o.opsAddress, "Address and port of /livez, /readyz and /metrics.")
	flags.DurationVar(&o.shutdownDelay, "shutdown-delay", o.shutdownDelay, "How long to serve on after the signal to stop, until nobody sends requests any more.")
	flags.DurationVar(&o.shutdownTimeout, "shutdown-timeout", o.shutdownTimeout, "How long after the signal to stop API servers may keep connections: each is closed after an answer, and API servers close those that are idle for 90s. A webhook without connections stops before.")

	flags.StringVar(&o.certificates, "certificates", o.certificates, "Where the serving certificate comes from: self-managed (made and renewed here), or files (mounted, as by cert-manager, which then keeps the CA bundle, too).")
	flags.StringVar(&o.certificateDir, "certificate-dir", o.certificateDir, "files: directory of tls.crt and tls.key, which may change at any time.")
	flags.StringVar(&o.certificateSecret, "certificate-secret", o.certificateSecret, "self-managed: name of the secret that holds the certificates.")
	flags.DurationVar(&o.certificateValidity, "certificate-validity", o.certificateValidity, "self-managed: how long a certificate lasts; it is renewed when a third of that is left.")
	flags.DurationVar(&o.certificateSettle, "certificate-settle", o.certificateSettle, "self-managed: how long a new certificate is announced in the CA bundle before it is served.")
	flags.StringVar(&o.service, "service", o.service, "self-managed: name of the Service through which API servers call.")
	flags.StringVar(&o.configuration, "webhook-configuration", o.configuration, "self-managed: name of the MutatingWebhookConfiguration whose CA bundle is kept.")

	flags.StringVar(&o.logFormat, "log-format", o.logFormat, "Format of the log: json or text.")
	flags.StringVar(&o.logLevel, "log-level", o.logLevel, "What is logged: error, info, debug, or a verbosity from 0 (info) to 10; debug is 4. Bodies of requests to the API server are left out at every verbosity: they hold the private key.")
}

// validate returns all that is wrong with the flags at once.
func (o *options) validate() error {
	var errs []error
	check := func(ok bool, format string, args ...any) {
		if !ok {
			errs = append(errs, fmt.Errorf(format, args...))
		}
	}
	// The API server would refuse every pod that was given another name.
	check(len(validation.IsDNS1123Subdomain(o.schedulerName)) == 0, "--scheduler-name %q is not the name of a scheduler", o.schedulerName)
	for _, name := range o.ownNames {
		check(len(validation.IsDNS1123Subdomain(name)) == 0, "--own-scheduler-names: %q is not the name of a scheduler", name)
	}
	check(len(o.drivers) > 0, "--drivers is empty: no volume would be the driver's")
	for _, driver := range o.drivers {
		check(driver != "", "--drivers has an empty name")
	}
	check(o.lookupQPS > 0 && o.lookupBurst > 0, "--lookup-qps and --lookup-burst have to be greater than 0")
	check(o.port > 0 && o.port < 1<<16, "--port %d is not a port", o.port)
	check(o.shutdownDelay >= 0, "--shutdown-delay %v is negative", o.shutdownDelay)
	check(o.shutdownTimeout >= 0, "--shutdown-timeout %v is negative", o.shutdownTimeout)
	switch o.certificates {
	case fromFiles:
		check(o.certificateDir != "", "--certificates=files needs --certificate-dir")
	case selfManaged:
		check(o.namespace != "", "--namespace or POD_NAMESPACE has to name the webhook's own namespace, for the secret of certificates")
		for flag, name := range map[string]string{
			"certificate-secret": o.certificateSecret, "service": o.service, "webhook-configuration": o.configuration,
		} {
			check(len(validation.IsDNS1123Subdomain(name)) == 0, "--%s %q is not a name", flag, name)
		}
		check(o.certificateSettle > 0, "--certificate-settle has to be greater than 0")
		check(o.certificateValidity >= 10*o.certificateSettle, "--certificate-validity %v has to be at least ten times --certificate-settle %v",
			o.certificateValidity, o.certificateSettle)
	default:
		check(false, "--certificates %q is neither %s nor %s", o.certificates, selfManaged, fromFiles)
	}
	return errors.Join(errs...)
}
