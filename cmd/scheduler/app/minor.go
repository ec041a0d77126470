package app

import (
	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/client-go/discovery"
	"k8s.io/klog/v2"

	"github.com/hyperconverge/scheduler/internal/minor"
)

// tellMinor says so if the scheduler does not belong to its API server.
func tellMinor(logger klog.Logger, server discovery.ServerVersionInterface) {
	info, err := server.ServerVersion()
	if err != nil {
		return // the informers say that nobody answers
	}
	theirs, err := version.ParseGeneric(info.GitVersion)
	if err != nil {
		return // nothing is known of it
	}
	if fault, advice, _ := minor.Skew(minor.Kubernetes, theirs.Minor()); fault != "" {
		logger.Error(nil, "This build is for another minor of Kubernetes", "fault", fault, "advice", advice, "apiServer", info.GitVersion)
	}
}
