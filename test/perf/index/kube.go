package main

import (
	"fmt"

	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/watch"
	coreinformers "k8s.io/client-go/informers/core/v1"
	storageinformers "k8s.io/client-go/informers/storage/v1"
	corelisters "k8s.io/client-go/listers/core/v1"
	storagelisters "k8s.io/client-go/listers/storage/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/hyperconverge/scheduler/pkg/volumes"
)

const driver = "pxd.portworx.com"

// informer is an informer whose API server is a list in memory.
type informer struct{ shared cache.SharedIndexInformer }

type (
	nodeInformer    informer
	csiNodeInformer informer
	pvInformer      informer
)

var (
	_ coreinformers.NodeInformer             = nodeInformer{}
	_ storageinformers.CSINodeInformer       = csiNodeInformer{}
	_ coreinformers.PersistentVolumeInformer = pvInformer{}
)

func (i nodeInformer) Informer() cache.SharedIndexInformer    { return i.shared }
func (i csiNodeInformer) Informer() cache.SharedIndexInformer { return i.shared }
func (i pvInformer) Informer() cache.SharedIndexInformer      { return i.shared }
func (i nodeInformer) Lister() corelisters.NodeLister {
	return corelisters.NewNodeLister(i.shared.GetIndexer())
}
func (i csiNodeInformer) Lister() storagelisters.CSINodeLister {
	return storagelisters.NewCSINodeLister(i.shared.GetIndexer())
}
func (i pvInformer) Lister() corelisters.PersistentVolumeLister {
	return corelisters.NewPersistentVolumeLister(i.shared.GetIndexer())
}

// once lists its objects and then never tells of a change.
type once struct{ list runtime.Object }

func (o once) List(metav1.ListOptions) (runtime.Object, error) { return o.list, nil }
func (once) Watch(metav1.ListOptions) (watch.Interface, error) { return watch.NewFake(), nil }
func (once) IsWatchListSemanticsUnSupported() bool             { return true }
func newInformer(list, example runtime.Object) informer {
	return informer{cache.NewSharedIndexInformer(once{list}, example, 0, cache.Indexers{})}
}

// kubernetes is the cluster's side of the storage cluster.
type kubernetes struct {
	nodes    nodeInformer
	csiNodes csiNodeInformer
	pvs      pvInformer
}

func newKubernetes(s *storage) *kubernetes {
	nodes, csiNodes := &v1.NodeList{}, &storagev1.CSINodeList{}
	for i, id := range s.Nodes {
		meta := metav1.ObjectMeta{Name: nodeName(i), Labels: map[string]string{"topology.kubernetes.io/zone": fmt.Sprint("zone-", i%3)}}
		nodes.Items = append(nodes.Items, v1.Node{ObjectMeta: meta, Status: v1.NodeStatus{
			Addresses: []v1.NodeAddress{{Type: v1.NodeInternalIP, Address: fmt.Sprintf("10.200.%d.%d", i/250, i%250+1)}}}})
		csiNodes.Items = append(csiNodes.Items, storagev1.CSINode{ObjectMeta: metav1.ObjectMeta{Name: nodeName(i)},
			Spec: storagev1.CSINodeSpec{Drivers: []storagev1.CSINodeDriver{{Name: driver, NodeID: id}}}})
	}
	pvs := &v1.PersistentVolumeList{}
	for i, id := range s.Volumes {
		pvs.Items = append(pvs.Items, v1.PersistentVolume{ObjectMeta: metav1.ObjectMeta{Name: fmt.Sprint("pvc-", i)},
			Spec: v1.PersistentVolumeSpec{PersistentVolumeSource: v1.PersistentVolumeSource{
				CSI: &v1.CSIPersistentVolumeSource{Driver: driver, VolumeHandle: id}}}})
	}
	return &kubernetes{
		nodes:    nodeInformer(newInformer(nodes, &v1.Node{})),
		csiNodes: csiNodeInformer(newInformer(csiNodes, &storagev1.CSINode{})),
		pvs:      pvInformer(newInformer(pvs, &v1.PersistentVolume{})),
	}
}

// run starts the informers, and returns when their stores are full.
func (k *kubernetes) run(stop <-chan struct{}) {
	for _, i := range []cache.SharedIndexInformer{k.nodes.shared, k.csiNodes.shared, k.pvs.shared} {
		go i.Run(stop)
	}
	cache.WaitForCacheSync(stop, k.nodes.shared.HasSynced, k.csiNodes.shared.HasSynced, k.pvs.shared.HasSynced)
}

func newIndex(k *kubernetes) (*volumes.Index, error) {
	index := volumes.NewIndex(volumes.Options{
		Drivers:      []string{driver},
		TopologyKeys: volumes.LabelKeys{Zone: []string{"topology.kubernetes.io/zone"}},
	})
	return index, index.AddEventHandlers(k.nodes, k.csiNodes, k.pvs)
}
