// Command webhook is the mutating admission webhook that gives pods with volumes
// of the storage driver to the hyperconverge scheduler.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/spf13/cobra"
	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/types"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/component-base/version/verflag"
	"k8s.io/klog/v2"
	"sigs.k8s.io/controller-runtime/pkg/certwatcher"

	"github.com/hyperconverge/scheduler/pkg/webhook"
	"github.com/hyperconverge/scheduler/pkg/webhook/certificates"
)

func main() {
	if err := newCommand().Execute(); err != nil {
		fmt.Fprintln(os.Stderr, "hyperconverge-webhook:", err)
		os.Exit(1)
	}
}

func newCommand() *cobra.Command {
	o := newOptions()
	cmd := &cobra.Command{
		Use:   "hyperconverge-webhook",
		Short: "Gives pods with volumes of the storage driver to the hyperconverge scheduler",
		Long: `hyperconverge-webhook is a mutating admission webhook for pods. A pod that uses a
volume of the storage driver gets our schedulerName and the tolerations for the
taints of the storage operator; all other pods are left as they are. It never
refuses a pod.

It serves admission requests over TLS, and /livez, /readyz and /metrics over
plain HTTP on another port.`,
		Args:          cobra.NoArgs,
		SilenceUsage:  true, // a mistake in a flag is one line, not a page of flags
		SilenceErrors: true, // main prints them
		RunE: func(*cobra.Command, []string) error {
			verflag.PrintAndExitIfRequested()
			if err := o.validate(); err != nil {
				return err
			}
			flush, err := setLogger(o.logFormat, o.logLevel)
			if err != nil {
				return err
			}
			defer flush()
			ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGTERM, syscall.SIGINT)
			defer stop()
			return run(klog.NewContext(ctx, klog.Background()), o)
		},
	}
	o.addFlags(cmd.Flags())
	verflag.AddFlags(cmd.Flags())
	return cmd
}

// run serves until the context ends.
func run(ctx context.Context, o *options) error {
	config, err := clientcmd.BuildConfigFromFlags("", o.kubeconfig)
	if err != nil {
		return fmt.Errorf("finding the API server (--kubeconfig, or inside of a cluster): %w", err)
	}
	rest.AddUserAgent(config, "hyperconverge-webhook")
	config.ContentType = runtime.ContentTypeProtobuf
	config.AcceptContentTypes = runtime.ContentTypeProtobuf + "," + runtime.ContentTypeJSON
	watch, err := kubernetes.NewForConfig(config)
	if err != nil {
		return fmt.Errorf("connecting to the API server: %w", err)
	}
	unlimited := rest.CopyConfig(config)
	unlimited.QPS = -1 // the webhook has a limit for it, in which namespaces have shares
	read, err := kubernetes.NewForConfig(unlimited)
	if err != nil {
		return fmt.Errorf("connecting to the API server: %w", err)
	}
	serving, err := servingCertificates(watch, o)
	if err != nil {
		return err
	}
	excluded := sets.New(o.excludedNamespaces...)
	if o.namespace != "" {
		excluded.Insert(o.namespace)
	}
	klog.FromContext(ctx).Info("Starting", "schedulerName", o.schedulerName, "drivers", o.drivers,
		"excludedNamespaces", sets.List(excluded), "certificates", o.certificates)
	return webhook.NewServer(webhook.ServerOptions{
		Rules: webhook.Rules{
			SchedulerName:      o.schedulerName,
			OwnNames:           sets.New(o.ownNames...),
			ReplaceAny:         o.replaceAny,
			Tolerate:           o.tolerate,
			OptimizeFSGroup:    o.optimizeFSGroup,
			ExcludedNamespaces: excluded,
		},
		Drivers:         o.drivers,
		Watch:           watch,
		Read:            read,
		LookupQPS:       o.lookupQPS,
		LookupBurst:     o.lookupBurst,
		Certificates:    serving,
		ClientCAFile:    o.clientCAFile,
		Host:            o.bindAddress,
		Port:            o.port,
		OpsAddress:      o.opsAddress,
		ShutdownDelay:   o.shutdownDelay,
		ShutdownTimeout: o.shutdownTimeout,
	}).Run(ctx)
}

// servingCertificates returns where the serving certificate comes from.
func servingCertificates(client kubernetes.Interface, o *options) (webhook.Certificates, error) {
	if o.certificates == fromFiles {
		files, err := certwatcher.New(filepath.Join(o.certificateDir, v1.TLSCertKey), filepath.Join(o.certificateDir, v1.TLSPrivateKeyKey))
		if err != nil {
			return nil, fmt.Errorf("reading the serving certificate from --certificate-dir: %w", err)
		}
		return files, nil
	}
	return certificates.NewKeeper(client, certificates.Target{
		Secret:        types.NamespacedName{Namespace: o.namespace, Name: o.certificateSecret},
		Configuration: o.configuration,
		Service:       types.NamespacedName{Namespace: o.namespace, Name: o.service},
	}, certificates.Requirements{Validity: o.certificateValidity, Settle: o.certificateSettle}), nil
}
