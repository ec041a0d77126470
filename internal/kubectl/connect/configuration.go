package connect

import (
	"context"
	"fmt"
	"os"

	appsv1 "k8s.io/api/apps/v1"
	v1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	schedulerapi "k8s.io/kubernetes/pkg/scheduler/apis/config"

	"github.com/hyperconverge/scheduler/pkg/apis/config"
	"github.com/hyperconverge/scheduler/pkg/debug"
	"github.com/hyperconverge/scheduler/pkg/plugins/hyperconverge"
	"github.com/hyperconverge/scheduler/pkg/volumes"
)

// unnamed is a pod of no scheduler.
var unnamed = &v1.Pod{}

// assumed is the configuration of a scheduler of which nothing is known: that of the
// manifests.
const assumed = `apiVersion: kubescheduler.config.k8s.io/v1
kind: KubeSchedulerConfiguration
profiles:
- schedulerName: hyperconverge-scheduler
  plugins: {multiPoint: {enabled: [{name: Hyperconverge, weight: 15}]}}
`

// configFile is the key of the configuration in the Deployment's ConfigMap.
const configFile = "scheduler.yaml"

// configure finds the scheduler's configuration: a file, the scheduler's own answer, its
// ConfigMap, or else the usual one.
func (o *Options) configure(ctx context.Context, s *Session) (err error) {
	var data []byte
	where := "the scheduler's configuration"
	switch {
	case o.SchedulerConfig != "":
		where = o.SchedulerConfig
		if data, err = os.ReadFile(o.SchedulerConfig); err != nil {
			return fmt.Errorf("reading --scheduler-config: %w", err)
		}
	case s.State != nil && len(s.State.Configuration) > 0:
		data = s.State.Configuration
	default:
		if data, err = o.deployed(ctx, s); err != nil {
			s.Assumed, data = true, []byte(assumed)
			s.Unknown = append(s.Unknown, fmt.Sprintf("The scheduler's configuration is not known (%v); that of the manifests is assumed. Name it by --scheduler-config.", err))
		}
	}
	if s.Configuration, err = debug.DecodeConfiguration(data); err != nil {
		return fmt.Errorf("%s: %w", where, err)
	}
	if len(s.Configuration.Profiles) == 0 {
		return fmt.Errorf("%s: %w", where, errNoProfile)
	}
	return nil
}

// deployed is the configuration in the ConfigMap that the scheduler's Deployment mounts.
func (o *Options) deployed(ctx context.Context, s *Session) ([]byte, error) {
	deployment, err := s.Client.AppsV1().Deployments(o.SchedulerNamespace).Get(ctx, "hyperconverge-scheduler", metav1.GetOptions{})
	if err != nil {
		return nil, err
	}
	return o.mounted(ctx, s, deployment, configFile)
}

// mounted is a file in one of the ConfigMaps that a Deployment mounts.
func (o *Options) mounted(ctx context.Context, s *Session, deployment *appsv1.Deployment, file string) ([]byte, error) {
	for _, volume := range deployment.Spec.Template.Spec.Volumes {
		if volume.ConfigMap == nil {
			continue
		}
		found, err := s.Client.CoreV1().ConfigMaps(o.SchedulerNamespace).Get(ctx, volume.ConfigMap.Name, metav1.GetOptions{})
		if err != nil {
			return nil, err
		}
		if text := found.Data[file]; text != "" {
			return []byte(text), nil
		}
	}
	return nil, fmt.Errorf("the Deployment %s/%s mounts none", o.SchedulerNamespace, deployment.Name)
}

// validateStorage finds what is wrong with the flags.
func validateStorage(settings config.OpenStorage) error {
	if _, err := hyperconverge.NewOpenStorageSource(settings, volumes.NewIndex(volumes.Options{})); err != nil {
		return fmt.Errorf("--storage-endpoint and the flags beside it: %w", err)
	}
	return nil
}

// settings are those of the scheduler, with what the flags say of the connection.
func (o *StorageOptions) settings(configuration *schedulerapi.KubeSchedulerConfiguration) (config.OpenStorage, error) {
	settings, err := configured(configuration)
	if err == nil {
		settings.Endpoint, settings.TokenFile, settings.AllowPlaintextToken = o.Endpoint, o.TokenFile, o.AllowPlaintextToken
		settings.TLS = config.TLS{Enabled: o.TLS, CAFile: o.CAFile, ServerName: o.ServerName}
	}
	return settings, err
}

// configured are the settings of the scheduler itself.
func configured(configuration *schedulerapi.KubeSchedulerConfiguration) (config.OpenStorage, error) {
	for i := range configuration.Profiles {
		for _, plugin := range configuration.Profiles[i].PluginConfig {
			if args, ours := plugin.Args.(*config.HyperconvergeArgs); ours && plugin.Name == hyperconverge.Name {
				return args.OpenStorage, nil
			}
		}
	}
	return config.OpenStorage{}, fmt.Errorf("no profile of the scheduler's configuration has arguments of %s", hyperconverge.Name)
}
