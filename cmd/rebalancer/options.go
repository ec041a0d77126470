package main

import (
	"errors"
	"fmt"
	"os"

	"github.com/spf13/pflag"
	"k8s.io/apimachinery/pkg/util/validation"
	logsapi "k8s.io/component-base/logs/api/v1"
	schedulerapi "k8s.io/kubernetes/pkg/scheduler/apis/config"

	"github.com/hyperconverge/scheduler/internal/rebalancer"
	"github.com/hyperconverge/scheduler/pkg/apis/config"
	"github.com/hyperconverge/scheduler/pkg/debug"
	"github.com/hyperconverge/scheduler/pkg/plugins/hyperconverge"
	"github.com/hyperconverge/scheduler/pkg/rebalance"
)

// options are the flags.
type options struct {
	config, schedulerConfig string
	kubeconfig, namespace   string
	deployment, journal     string
	lease                   string
	leaderElect             bool
	opsAddress              string
	logging                 *logsapi.LoggingConfiguration
}

func newOptions() *options {
	return &options{
		namespace: os.Getenv("POD_NAMESPACE"), deployment: rebalancer.Name, journal: rebalancer.Name, lease: rebalancer.Name, leaderElect: true,
		opsAddress: ":8080", logging: logsapi.NewLoggingConfiguration(),
	}
}

func (o *options) addFlags(flags *pflag.FlagSet) {
	flags.StringVar(&o.config, "config", o.config, "Path of the "+rebalance.Kind+"; without one, the defaults hold: a dry run.")
	flags.StringVar(&o.schedulerConfig, "scheduler-config", o.schedulerConfig, "Path of the scheduler's KubeSchedulerConfiguration, by which successors are simulated and storage is reached.")
	flags.StringVar(&o.kubeconfig, "kubeconfig", o.kubeconfig, "Path of a kubeconfig file; not needed inside of the cluster.")
	flags.StringVar(&o.namespace, "namespace", o.namespace, "The rebalancer's own namespace; POD_NAMESPACE by default.")
	flags.StringVar(&o.deployment, "deployment", o.deployment, "Name of the rebalancer's own Deployment, whose annotations pause and resume it; empty for none.")
	flags.StringVar(&o.journal, "journal", o.journal, "Name of the ConfigMap in its namespace that keeps what has to outlive the process.")
	flags.StringVar(&o.lease, "lease", o.lease, "Name of the Lease that the leader holds.")
	flags.BoolVar(&o.leaderElect, "leader-elect", o.leaderElect, "Work only while holding the Lease.")
	flags.StringVar(&o.opsAddress, "ops-address", o.opsAddress, "Address and port of /livez, /readyz and /metrics.")
	logsapi.AddFlags(o.logging, flags)
}

// settings are what the files say.
type settings struct {
	rebalancer *rebalance.Configuration
	scheduler  *schedulerapi.KubeSchedulerConfiguration
	storage    config.OpenStorage
	drivers    []string
}

// load reads the files and returns all that is wrong with them and the flags at once.
func (o *options) load() (*settings, error) {
	var errs []error
	s := &settings{rebalancer: rebalance.Default()}
	for flag, value := range map[string]string{"namespace": o.namespace, "journal": o.journal, "lease": o.lease} {
		if len(validation.IsDNS1123Subdomain(value)) > 0 {
			errs = append(errs, fmt.Errorf("--%s %q is not a name", flag, value))
		}
	}
	if o.config != "" {
		if err := decode("config", o.config, func(data []byte) (err error) { s.rebalancer, err = rebalance.Decode(data); return err }); err != nil {
			errs = append(errs, err)
		}
	}
	if o.schedulerConfig == "" {
		return nil, errors.Join(append(errs, errors.New("--scheduler-config is missing: the file that the scheduler has as --config"))...)
	}
	if err := decode("scheduler-config", o.schedulerConfig, func(data []byte) (err error) { s.scheduler, err = debug.DecodeConfiguration(data); return err }); err != nil {
		return nil, errors.Join(append(errs, err)...)
	}
	args := argsOf(s.scheduler)
	if args == nil {
		errs = append(errs, fmt.Errorf("--scheduler-config %s: no profile enables %s", o.schedulerConfig, hyperconverge.Name))
	} else {
		s.storage, s.drivers = args.OpenStorage, args.Drivers
	}
	return s, errors.Join(errs...)
}

func decode(flag, path string, into func([]byte) error) error {
	data, err := os.ReadFile(path)
	if err != nil {
		return fmt.Errorf("reading --%s: %w", flag, err)
	}
	if err := into(data); err != nil {
		return fmt.Errorf("--%s %s: %w", flag, path, err)
	}
	return nil
}

// argsOf are the plugin's arguments, of which those about storage are the same in all
// profiles; nil if no profile has any.
func argsOf(configuration *schedulerapi.KubeSchedulerConfiguration) *config.HyperconvergeArgs {
	for i := range configuration.Profiles {
		for _, plugin := range configuration.Profiles[i].PluginConfig {
			if args, ours := plugin.Args.(*config.HyperconvergeArgs); ours && plugin.Name == hyperconverge.Name {
				return args
			}
		}
	}
	return nil
}
