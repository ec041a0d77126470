// Package minor holds what differs between the minors of Kubernetes for which this project is
// built (hack/kubernetes): one file for each, which the tag kubernetes1.N chooses.
package minor

import (
	"context"
	"fmt"

	"k8s.io/apimachinery/pkg/runtime"
	fwk "k8s.io/kube-scheduler/framework"
	frameworkruntime "k8s.io/kubernetes/pkg/scheduler/framework/runtime"
)

// leftOut stands for a plugin of scheduler-plugins that does not build on this minor. A
// profile that names it ends the start.
func leftOut(name, instead string) frameworkruntime.PluginFactory {
	return func(context.Context, runtime.Object, fwk.Handle) (fwk.Plugin, error) {
		return nil, fmt.Errorf("plugin %s is left out of the build for Kubernetes 1.%d, on which it does not compile: %s (docs/versions.md)", name, Kubernetes, instead)
	}
}

// Signing puts a plugin around each that a factory makes.
func Signing[P fwk.Plugin](factory frameworkruntime.PluginFactory, around func(P) fwk.Plugin) frameworkruntime.PluginFactory {
	return func(ctx context.Context, args runtime.Object, handle fwk.Handle) (fwk.Plugin, error) {
		made, err := factory(ctx, args, handle)
		if err != nil {
			return nil, err
		}
		plugin, is := made.(P)
		if !is {
			return nil, fmt.Errorf("plugin %s is a %T", made.Name(), made)
		}
		return around(plugin), nil
	}
}

// N of the oldest and the newest minor 1.N that hack/kubernetes/minors has.
const (
	Oldest uint = 35
	Newest uint = 37
)

// Skew says what is wrong with a scheduler of the minor 1.scheduler at an API server of
// 1.server, and what to do; empty for nothing. Broken is one that lacks kinds which it waits
// for. The rule is that of Kubernetes: a scheduler is not newer than the API server, and one
// minor older at the most (https://kubernetes.io/releases/version-skew-policy/#kube-scheduler).
func Skew(scheduler, server uint) (fault, advice string, broken bool) {
	if scheduler == server || scheduler+1 == server {
		return "", "", false
	}
	fault = fmt.Sprintf("the scheduler is of Kubernetes 1.%d, the API server of 1.%d", scheduler, server)
	if broken = scheduler > server; broken {
		fault += ": it may schedule nothing"
	}
	fits := server
	if server == Newest+1 {
		fits = Newest
	}
	if fits < Oldest || fits > Newest {
		return fault, "no build of this version fits: take the scheduler of another one (docs/versions.md)", broken
	}
	return fault, fmt.Sprintf("use the build for Kubernetes 1.%d (docs/versions.md)", fits), broken
}
