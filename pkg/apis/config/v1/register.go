package v1

import (
	"k8s.io/apimachinery/pkg/runtime"
	schedulerconfigv1 "k8s.io/kube-scheduler/config/v1"
)

// SchemeGroupVersion is the group and version of this package's types.
var SchemeGroupVersion = schedulerconfigv1.SchemeGroupVersion

// localSchemeBuilder is the scheduler's own: it defaults and converts plugin
// arguments with a private scheme, which is built from this builder.
var localSchemeBuilder = &schedulerconfigv1.SchemeBuilder

// AddToScheme registers the v1 types of the scheduler and of this package, with
// their defaults and conversions.
var AddToScheme = localSchemeBuilder.AddToScheme

func addKnownTypes(scheme *runtime.Scheme) error {
	scheme.AddKnownTypes(SchemeGroupVersion, &HyperconvergeArgs{})
	return nil
}

func init() {
	// The generated conversions register themselves.
	localSchemeBuilder.Register(addKnownTypes, RegisterDefaults)
}
