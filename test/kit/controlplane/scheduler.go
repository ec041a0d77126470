package controlplane

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"reflect"
	"sync"
	"testing"

	"github.com/spf13/pflag"
	authenticationv1 "k8s.io/api/authentication/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/informers"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/component-base/configz"
	kubescheduler "k8s.io/kubernetes/cmd/kube-scheduler/app"
	schedulerconfig "k8s.io/kubernetes/cmd/kube-scheduler/app/config"
	"k8s.io/kubernetes/cmd/kube-scheduler/app/options"
	"k8s.io/kubernetes/pkg/scheduler"
	"k8s.io/utils/ptr"
	_ "sigs.k8s.io/scheduler-plugins/apis/config/scheme" // as in cmd/scheduler
	"sigs.k8s.io/yaml"

	"github.com/hyperconverge/scheduler/cmd/scheduler/app"
	_ "github.com/hyperconverge/scheduler/pkg/apis/config/scheme" // as in cmd/scheduler
	"github.com/hyperconverge/scheduler/test/kit"
)

// Setup makes a scheduler.
type Setup func(context.Context, *options.Options) (*schedulerconfig.CompletedConfig, *scheduler.Scheduler, error)

// Hyperconverge is the setup of cmd/scheduler.
func Hyperconverge(ctx context.Context, opts *options.Options) (*schedulerconfig.CompletedConfig, *scheduler.Scheduler, error) {
	return app.Setup(ctx, opts)
}

// KubeScheduler is the setup of kube-scheduler itself.
func KubeScheduler(ctx context.Context, opts *options.Options) (*schedulerconfig.CompletedConfig, *scheduler.Scheduler, error) {
	return kubescheduler.Setup(ctx, opts)
}

// Scheduler is a scheduler in this process.
type Scheduler struct {
	*scheduler.Scheduler
	Informers informers.SharedInformerFactory
	// Stop ends it, and returns when it has ended. It may be called again.
	Stop func()
}

// StartScheduler runs a scheduler as its command does, with a KubeSchedulerConfiguration
// as users write it but for the kubeconfig, and returns when it knows what the API
// server does. It stops with the test, unless it was stopped before. An error is one of
// the setup.
func StartScheduler(tb testing.TB, config *rest.Config, setup Setup, configuration string) (*Scheduler, error) {
	tb.Helper()
	opts := options.NewOptions()
	flags := pflag.NewFlagSet("kube-scheduler", pflag.ContinueOnError)
	for _, set := range opts.Flags.FlagSets {
		flags.AddFlagSet(set)
	}
	// Nobody asks for health, and there may be many in one process.
	if err := flags.Parse([]string{"--config=" + writeConfiguration(tb, config, configuration), "--leader-elect=false", "--secure-port=0"}); err != nil {
		tb.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(tb.Context()))
	completed, sched, err := setup(ctx, opts)
	if err != nil {
		cancel()
		return nil, err
	}
	gate := &startGate{SharedInformerFactory: completed.InformerFactory, passed: make(chan struct{})}
	completed.InformerFactory = gate
	ended := make(chan error, 1)
	configz.Delete("componentconfig") // of a scheduler that was started before
	go func() { ended <- kubescheduler.Run(ctx, completed, sched) }()
	s := &Scheduler{Scheduler: sched, Informers: gate, Stop: sync.OnceFunc(func() {
		cancel()
		_ = <-ended //nolint:staticcheck // the error says only that it has ended
		gate.Shutdown()
		completed.DynInformerFactory.Shutdown()
	})}
	tb.Cleanup(s.Stop)
	kit.Eventually(tb, kit.Patience, "the scheduler has read its lists", func() error {
		select {
		case err := <-ended:
			ended <- err
			tb.Fatalf("the scheduler has ended: %v", err)
		case <-gate.passed:
			return sched.WaitForHandlersSync(ctx)
		default:
		}
		return errors.New("it has not")
	})
	return s, nil
}

// startGate tells when kube-scheduler has waited for the informers, and for all that
// was hung on that call.
type startGate struct {
	informers.SharedInformerFactory
	passed chan struct{}
}

// WaitForCacheSync waits for the informers.
func (g *startGate) WaitForCacheSync(stop <-chan struct{}) map[reflect.Type]bool {
	defer close(g.passed)
	return g.SharedInformerFactory.WaitForCacheSync(stop)
}

// writeConfiguration writes a KubeSchedulerConfiguration with the kubeconfig.
func writeConfiguration(tb testing.TB, config *rest.Config, configuration string) (path string) {
	tb.Helper()
	var content map[string]any
	if err := yaml.Unmarshal([]byte(configuration), &content); err != nil {
		tb.Fatal(err)
	}
	connection, _ := content["clientConnection"].(map[string]any)
	if connection == nil {
		connection = map[string]any{}
	}
	connection["kubeconfig"] = Kubeconfig(tb, config)
	content["clientConnection"] = connection
	completed, err := yaml.Marshal(content)
	if err != nil {
		tb.Fatal(err)
	}
	path = filepath.Join(tb.TempDir(), "scheduler.yaml")
	if err := os.WriteFile(path, completed, 0o600); err != nil {
		tb.Fatal(err)
	}
	return path
}

// As is how to reach the API server with the token of a ServiceAccount, as the kubelet
// asks for it, and with no other right.
func (p *ControlPlane) As(tb testing.TB, namespace, account string) *rest.Config {
	tb.Helper()
	request := &authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: ptr.To[int64](3600)}}
	token, err := p.Client.CoreV1().ServiceAccounts(namespace).CreateToken(tb.Context(), account, request, metav1.CreateOptions{})
	if err != nil {
		tb.Fatalf("token of %s: %v", account, err)
	}
	config := rest.AnonymousClientConfig(p.Config)
	config.BearerToken = token.Status.Token
	return config
}

// Kubeconfig writes how to reach an API server, and as whom, and returns the path.
func Kubeconfig(tb testing.TB, config *rest.Config) (path string) {
	tb.Helper()
	const name = "test"
	path = filepath.Join(tb.TempDir(), "kubeconfig")
	err := clientcmd.WriteToFile(clientcmdapi.Config{
		Clusters: map[string]*clientcmdapi.Cluster{name: {
			Server:                   config.Host,
			CertificateAuthority:     config.CAFile,
			CertificateAuthorityData: config.CAData,
			TLSServerName:            config.ServerName,
		}},
		AuthInfos: map[string]*clientcmdapi.AuthInfo{name: {
			Token:                 config.BearerToken,
			ClientCertificateData: config.CertData,
			ClientKeyData:         config.KeyData,
		}},
		Contexts:       map[string]*clientcmdapi.Context{name: {Cluster: name, AuthInfo: name}},
		CurrentContext: name,
	}, path)
	if err != nil {
		tb.Fatal(err)
	}
	return path
}
