package app

import (
	"context"
	"strconv"
	"time"

	"k8s.io/apimachinery/pkg/util/version"
	"k8s.io/apimachinery/pkg/util/wait"
	apiversion "k8s.io/apimachinery/pkg/version"
	"k8s.io/client-go/discovery"
	"k8s.io/klog/v2"

	"github.com/hyperconverge/scheduler/internal/minor"
)

// askAgain is after which time an API server that has not answered is asked again.
const askAgain = 5 * time.Second

// tellMinor says so if the scheduler does not belong to its API server, when that answers.
func tellMinor(ctx context.Context, server discovery.ServerVersionInterface) {
	_ = wait.PollUntilContextCancel(ctx, askAgain, true, func(context.Context) (bool, error) {
		info, err := server.ServerVersion()
		if err == nil { // else the informers say that nobody answers
			tellSkew(klog.FromContext(ctx), info)
		}
		return err == nil, nil
	})
}

func tellSkew(logger klog.Logger, info *apiversion.Info) {
	theirs, known := served(info)
	if !known {
		return
	}
	if fault, advice, _ := minor.Skew(minor.Kubernetes, theirs); fault != "" {
		logger.Error(nil, "This build is for another minor of Kubernetes", "fault", fault, "advice", advice, "apiServer", info.GitVersion)
	}
}

// served is the minor whose resources an API server has: its own, or an older one that it
// emulates.
func served(info *apiversion.Info) (served uint, known bool) {
	theirs, err := version.ParseGeneric(info.GitVersion)
	if err != nil || theirs.Major() != 1 {
		return 0, false
	}
	served = theirs.Minor()
	if emulated, err := strconv.ParseUint(info.EmulationMinor, 10, 32); err == nil {
		served = min(served, uint(emulated))
	}
	return served, true
}
