package simulation

import (
	"sync/atomic"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"
	"k8s.io/kubernetes/pkg/scheduler/backend/cache"
)

// sharedLister shows the frameworks the picture that a pod is placed in.
type sharedLister struct{ atomic.Pointer[cache.Snapshot] }

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

// deaf records no events.
type deaf struct{}

// Eventf implements events.EventRecorder.
func (deaf) Eventf(runtime.Object, runtime.Object, string, string, string, string, ...any) {}
