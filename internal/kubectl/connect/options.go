// Package connect is how kubectl hyperconverge reaches a cluster, the scheduler in it,
// and what the scheduler knows.
package connect

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spf13/pflag"
	"k8s.io/cli-runtime/pkg/genericclioptions"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/component-base/version"
	schedulerapi "k8s.io/kubernetes/pkg/scheduler/apis/config"

	"github.com/hyperconverge/scheduler/internal/kubectl/view"
	"github.com/hyperconverge/scheduler/pkg/debug"
	"github.com/hyperconverge/scheduler/pkg/simulation"
	"github.com/hyperconverge/scheduler/pkg/volumes"
)

// Options are the flags that all commands have.
type Options struct {
	Kube *genericclioptions.ConfigFlags
	// SchedulerEndpoint is the debug endpoint of a scheduler: https://HOST:PORT.
	SchedulerEndpoint, SchedulerCAFile string
	// Storage is asked itself if its Endpoint is not empty.
	Storage StorageOptions
	// SchedulerNamespace, Lease and DebugPort find the leader's pod.
	SchedulerNamespace, Lease string
	DebugPort                 int
	// SchedulerConfig is a file with the KubeSchedulerConfiguration.
	SchedulerConfig string
	// Timeout bounds all that is waited for.
	Timeout time.Duration
	// Follow has more read than the scheduler reads; may be nil.
	Follow func(informers.SharedInformerFactory)

	// RebalancerConfig is a file with the RebalancerConfiguration.
	RebalancerConfig string
}

// StorageOptions are the connection to the OpenStorage SDK.
type StorageOptions struct {
	Endpoint, TokenFile, CAFile, ServerName string
	TLS, AllowPlaintextToken                bool
}

// NewOptions returns the defaults.
func NewOptions() *Options {
	return &Options{Kube: genericclioptions.NewConfigFlags(true)}
}

// AddTo adds the flags.
func (o *Options) AddTo(flags *pflag.FlagSet) {
	o.Kube.AddFlags(flags)
	flags.StringVar(&o.SchedulerEndpoint, "scheduler-endpoint", "", "debug endpoint of the scheduler, https://HOST:PORT, instead of a port-forward to its leader")
	flags.StringVar(&o.SchedulerCAFile, "scheduler-ca-file", "", "certificate authority of --scheduler-endpoint; on this machine it may do without")
	flags.StringVar(&o.SchedulerNamespace, "scheduler-namespace", "hyperconverge-system", "namespace of the scheduler")
	flags.StringVar(&o.Lease, "scheduler-lease", "hyperconverge-scheduler", "lease whose holder is the scheduler's leading pod")
	flags.IntVar(&o.DebugPort, "scheduler-port", 10359, "debugPort of the scheduler")
	flags.StringVar(&o.SchedulerConfig, "scheduler-config", "", "file with the scheduler's KubeSchedulerConfiguration, instead of asking it")
	flags.StringVar(&o.Storage.Endpoint, "storage-endpoint", "", "OpenStorage SDK to ask for replicas, HOST:PORT, instead of the scheduler")
	flags.StringVar(&o.Storage.TokenFile, "storage-token-file", "", "file with the token for --storage-endpoint")
	flags.BoolVar(&o.Storage.TLS, "storage-tls", false, "encrypt the connection to --storage-endpoint")
	flags.StringVar(&o.Storage.CAFile, "storage-ca-file", "", "certificate authority of --storage-endpoint, with --storage-tls")
	flags.StringVar(&o.Storage.ServerName, "storage-server-name", "", "name in the certificate of --storage-endpoint, with --storage-tls")
	flags.BoolVar(&o.Storage.AllowPlaintextToken, "storage-allow-plaintext-token", false, "send the token although nothing is encrypted")
	flags.DurationVar(&o.Timeout, "timeout", 30*time.Second, "how long to wait for answers")
}

// Session is a connection with all that was read through it.
type Session struct {
	*view.World
	// RESTConfig has the user's rights; the engine's clients have less.
	RESTConfig *rest.Config
	Client     kubernetes.Interface
	// Namespace is that of -n, or of the kubeconfig's context; Cluster the name of the
	// context's cluster.
	Namespace, Cluster string
	// State is what the scheduler has told, nil if it was not asked or did not answer.
	State *debug.State
	// Configuration is that of the scheduler; Assumed says that it is a default, because
	// none could be read.
	Configuration *schedulerapi.KubeSchedulerConfiguration
	Assumed       bool
	// Restored is nil if storage was asked itself; then Asked is not.
	Restored *simulation.Restored
	Asked    *simulation.Asked

	follow func(informers.SharedInformerFactory)
}

// Close ends the reading.
func (s *Session) Close() { s.Engine.Close() }

// Open connects and reads. Progress is told of each step. What cannot be had without harm
// ends in Unknown; what nothing can be said without is an error.
func (o *Options) Open(ctx context.Context, progress func(string)) (_ *Session, err error) {
	timeout := fmt.Errorf("no answer within %s (--timeout)", o.Timeout)
	starting, stop := context.WithTimeoutCause(ctx, o.Timeout, timeout)
	defer stop()
	s := &Session{World: &view.World{}, follow: o.Follow}
	if err := o.target(s); err != nil {
		return nil, err
	}
	progress("asking the scheduler what it knows")
	if err := o.ask(starting, s); err != nil {
		return nil, err
	}
	if err := o.configure(starting, s); err != nil {
		return nil, err
	}
	progress("looking at what may be read")
	unknown, err := checkRights(starting, s.RESTConfig)
	if err != nil {
		return nil, err
	}
	s.Unknown = append(s.Unknown, unknown...)
	progress("reading nodes, pods and volumes")
	if err := o.read(ctx, starting, s); err != nil {
		return nil, err
	}
	s.warn()
	return s, nil
}

// target finds cluster and namespace.
func (o *Options) target(s *Session) (err error) {
	if s.RESTConfig, err = o.Kube.ToRESTConfig(); err != nil {
		return fmt.Errorf("reading the kubeconfig: %w", err)
	}
	if s.Namespace, _, err = o.Kube.ToRawKubeConfigLoader().Namespace(); err != nil {
		return fmt.Errorf("reading the kubeconfig: %w", err)
	}
	if raw, err := o.Kube.ToRawKubeConfigLoader().RawConfig(); err == nil {
		s.Cluster = raw.CurrentContext
	}
	for _, named := range []*string{o.Kube.Context, o.Kube.ClusterName, o.Kube.APIServer} {
		if named != nil && *named != "" {
			s.Cluster = *named
			break
		}
	}
	if s.Cluster == "" {
		s.Cluster = s.RESTConfig.Host
	}
	s.RESTConfig.QPS, s.RESTConfig.Burst = 50, 100
	s.Client, err = kubernetes.NewForConfig(s.RESTConfig)
	return err
}

// read starts the engine, which goes on when the start is over.
func (o *Options) read(ctx, starting context.Context, s *Session) error {
	var replicas simulation.Replicas
	if o.Storage.Endpoint != "" {
		settings, err := o.Storage.settings(s.Configuration)
		if err != nil {
			return err
		}
		if err := validateStorage(settings); err != nil {
			return err
		}
		s.Asked = &simulation.Asked{Settings: settings, Patience: o.Timeout / 2}
		replicas = s.Asked
	} else {
		s.Restored = &simulation.Restored{}
		if s.State != nil {
			s.Restored.Snapshot = s.State.Index
		}
		replicas = s.Restored
	}
	if err := s.start(ctx, starting, replicas); err != nil {
		return err
	}
	switch {
	case s.Asked != nil:
		s.Index = s.Asked.Snapshot()
		if s.Index.LastContact.IsZero() {
			s.Engine.Close()
			return fmt.Errorf("storage at %s did not answer within %s: see --storage-endpoint, --storage-token-file and --storage-tls", o.Storage.Endpoint, o.Timeout/2)
		}
	default:
		s.Index = volumes.SnapshotOf(s.Restored.Index())
	}
	return nil
}

// start makes the engine.
func (s *Session) start(ctx, starting context.Context, replicas simulation.Replicas) error {
	engineCtx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(starting, func() { cancel(context.Cause(starting)) })
	engine, err := simulation.New(engineCtx, simulation.EngineOptions{RESTConfig: s.RESTConfig, Configuration: s.Configuration, Replicas: replicas, Follow: s.follow})
	if err != nil {
		return err
	}
	stop()
	name, _, err := engine.ProfileOf(unnamed)
	if err != nil {
		engine.Close()
		return err
	}
	if s.Plugin = engine.Plugin(name); s.Plugin == nil {
		engine.Close()
		return simulation.ErrNoPlugin
	}
	s.Engine = engine
	return nil
}

// Freeze has the session go on with what is known now, so that it can be changed. Storage
// is no longer asked.
func (s *Session) Freeze(ctx context.Context) error {
	if s.Restored != nil {
		return nil
	}
	s.Engine.Close()
	s.Restored = &simulation.Restored{Snapshot: s.Index}
	return s.start(ctx, ctx, s.Restored)
}

// warn tells of a scheduler that does not know well, or is of another release.
func (s *Session) warn() {
	if s.State == nil {
		return
	}
	for _, c := range s.State.Conditions {
		s.Unknown = append(s.Unknown, "The scheduler says of storage: "+c.Reason+": "+c.Message)
	}
	if !s.State.Index.Synced {
		s.Unknown = append(s.Unknown, "The scheduler has not read the cluster yet: what it knows of volumes is not complete.")
	}
	if own := version.Get().String(); s.State.Version != own {
		s.Unknown = append(s.Unknown, fmt.Sprintf("The scheduler is %s, this program %s: where they differ, the scheduler decides. Use the kubectl-hyperconverge of its release.", s.State.Version, own))
	}
}

var errNoProfile = errors.New("the scheduler's configuration has no profile")
