// Package scheme adds the arguments of the Hyperconverge plugin to the
// scheduler's own scheme. Importing it is enough: from then on the scheduler
// decodes, defaults and converts them like those of its own plugins.
package scheme

import (
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	utilruntime "k8s.io/apimachinery/pkg/util/runtime"
	schedulerscheme "k8s.io/kubernetes/pkg/scheduler/apis/config/scheme"

	"github.com/hyperconverge/scheduler/pkg/apis/config"
	configv1 "github.com/hyperconverge/scheduler/pkg/apis/config/v1"
)

// Scheme is the scheduler's own scheme.
var Scheme = schedulerscheme.Scheme

// Codecs decodes strictly: a field that does not exist is an error.
var Codecs = serializer.NewCodecFactory(Scheme, serializer.EnableStrict)

func init() {
	AddToScheme(Scheme)
}

// AddToScheme registers internal and versioned types, defaults and conversions.
func AddToScheme(scheme *runtime.Scheme) {
	utilruntime.Must(config.AddToScheme(scheme))
	utilruntime.Must(configv1.AddToScheme(scheme))
}
