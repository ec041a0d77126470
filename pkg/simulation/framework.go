package simulation

import (
	"sync/atomic"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/util/sets"
	"k8s.io/client-go/tools/events"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/backend/cache"
)

// snapshot is what the frameworks see of the picture.
type snapshot struct {
	*cache.Snapshot
	// freed are the claims that nobody uses any more whom the snapshot has in use.
	freed sets.Set[string]
}

func newSnapshot(pods []*v1.Pod, nodes []*v1.Node) *snapshot {
	return &snapshot{Snapshot: cache.NewSnapshot(pods, nodes), freed: sets.New[string]()}
}

// StorageInfos implements fwk.SharedLister.
func (s *snapshot) StorageInfos() fwk.StorageInfoLister { return s }

// IsPVCUsedByPods implements fwk.StorageInfoLister.
func (s *snapshot) IsPVCUsedByPods(key string) bool {
	return !s.freed.Has(key) && s.Snapshot.IsPVCUsedByPods(key)
}

// sharedLister shows the frameworks the picture that a pod is placed in.
type sharedLister struct {
	atomic.Pointer[snapshot]
	// SharedLister has what newer minors ask for beside: groups of pods, of which none is
	// placed here.
	fwk.SharedLister
}

// NodeInfos implements fwk.SharedLister.
func (l *sharedLister) NodeInfos() fwk.NodeInfoLister { return l.Load().NodeInfos() }

// StorageInfos implements fwk.SharedLister.
func (l *sharedLister) StorageInfos() fwk.StorageInfoLister { return l.Load().StorageInfos() }

// noQueue stands where a scheduler has its queue: nobody is nominated, and nobody is woken.
type noQueue struct{}

// AddNominatedPod implements fwk.PodNominator.
func (noQueue) AddNominatedPod(klog.Logger, fwk.PodInfo, *fwk.NominatingInfo) {}

// DeleteNominatedPodIfExists implements fwk.PodNominator.
func (noQueue) DeleteNominatedPodIfExists(*v1.Pod) {}

// UpdateNominatedPod implements fwk.PodNominator.
func (noQueue) UpdateNominatedPod(klog.Logger, *v1.Pod, fwk.PodInfo) {}

// NominatedPodsForNode implements fwk.PodNominator.
func (noQueue) NominatedPodsForNode(string) []fwk.PodInfo { return nil }

// Activate implements fwk.PodActivator.
func (noQueue) Activate(klog.Logger, map[string]*v1.Pod) {}

// mute records no events.
type mute struct{ events.EventBroadcaster }

// NewRecorder implements events.EventBroadcaster.
func (mute) NewRecorder(*runtime.Scheme, string) events.EventRecorderLogger { return mute{} }

// Eventf implements events.EventRecorder.
func (mute) Eventf(runtime.Object, runtime.Object, string, string, string, string, ...any) {}

// WithLogger implements events.EventRecorderLogger.
func (mute) WithLogger(klog.Logger) events.EventRecorderLogger { return mute{} }
