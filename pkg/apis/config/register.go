package config

import (
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/schema"
	schedulerconfig "k8s.io/kubernetes/pkg/scheduler/apis/config"
)

// SchemeGroupVersion is the group and version of this package's types: the
// scheduler's own group, so that plugin arguments decode as its own do.
var SchemeGroupVersion = schema.GroupVersion{Group: schedulerconfig.GroupName, Version: runtime.APIVersionInternal}

// localSchemeBuilder is the scheduler's own: it converts plugin arguments with a
// private scheme, which is built from this builder and from nothing else.
var localSchemeBuilder = &schedulerconfig.SchemeBuilder

// AddToScheme registers the internal types of the scheduler and of this package.
var AddToScheme = localSchemeBuilder.AddToScheme

func addKnownTypes(scheme *runtime.Scheme) error {
	scheme.AddKnownTypes(SchemeGroupVersion, &HyperconvergeArgs{})
	return nil
}

func init() {
	localSchemeBuilder.Register(addKnownTypes)
}
