package volumes

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	v1 "k8s.io/api/core/v1"
	storagev1 "k8s.io/api/storage/v1"
	coreinformers "k8s.io/client-go/informers/core/v1"
	storageinformers "k8s.io/client-go/informers/storage/v1"
	"k8s.io/client-go/tools/cache"

	"github.com/hyperconverge/scheduler/pkg/claims"
	"github.com/hyperconverge/scheduler/pkg/placement"
)

// AddEventHandlers feeds the index from the informers. It is called once, before
// or after they are started.
func (ix *Index) AddEventHandlers(nodes coreinformers.NodeInformer, csiNodes storageinformers.CSINodeInformer,
	pvs coreinformers.PersistentVolumeInformer) error {
	if ix.registrations.Load() != nil {
		return errors.New("the volume index has its event handlers already")
	}
	var registrations []registration
	for _, feed := range []struct {
		what     string
		informer cache.SharedIndexInformer
		handler  cache.ResourceEventHandler
	}{
		{"nodes", nodes.Informer(), ix.nodeHandler()},
		{"CSINodes", csiNodes.Informer(), ix.csiNodeHandler()},
		{"PersistentVolumes", pvs.Informer(), ix.pvHandler()},
	} {
		handle, err := feed.informer.AddEventHandler(feed.handler)
		if err != nil {
			return fmt.Errorf("feed the volume index with %s: %w", feed.what, err)
		}
		registrations = append(registrations, registration{feed.informer, handle})
	}
	ix.registrations.Store(&registrations)
	return nil
}

// registration is one event handler of the index.
type registration struct {
	informer cache.SharedIndexInformer
	cache.ResourceEventHandlerRegistration
}

// removeEventHandlers forgets the registrations, too: each keeps what the informer has queued
// for it, which after a long initial list is as large as the list was.
func (ix *Index) removeEventHandlers() {
	registrations := ix.registrations.Swap(nil)
	if registrations == nil {
		return
	}
	for _, r := range *registrations {
		// It fails only for a registration that another informer made.
		_ = r.informer.RemoveEventHandler(r.ResourceEventHandlerRegistration)
	}
}

func (ix *Index) nodeHandler() cache.ResourceEventHandler {
	set := func(node *v1.Node) {
		if ix.nodes.setNode(node.Name, ix.newKubeNode(node)) {
			ix.signal()
		}
	}
	return handler[*v1.Node]{
		add:    func(node *v1.Node, _ bool) { set(node) },
		update: func(_, node *v1.Node) { set(node) },
		remove: func(node *v1.Node) {
			if ix.nodes.setNode(node.Name, nil) {
				ix.signal()
			}
		},
	}
}

func (ix *Index) csiNodeHandler() cache.ResourceEventHandler {
	set := func(name string, node *csiNode) {
		if ix.nodes.setCSINode(name, node) {
			ix.signal()
		}
	}
	return handler[*storagev1.CSINode]{
		add:    func(node *storagev1.CSINode, _ bool) { set(node.Name, ix.newCSINode(node)) },
		update: func(_, node *storagev1.CSINode) { set(node.Name, ix.newCSINode(node)) },
		remove: func(node *storagev1.CSINode) { set(node.Name, nil) },
	}
}

// pvHandler follows the handle of every PV of the driver, bound or not: a volume
// that is known before its claim is costs nothing. A handle is forgotten with the
// last PV that names it.
func (ix *Index) pvHandler() cache.ResourceEventHandler {
	handleOf := func(pv *v1.PersistentVolume) string {
		_, handle := claims.HandleOf(pv, ix.drivers)
		return handle
	}
	return handler[*v1.PersistentVolume]{
		// The volumes of the initial list come to the source with the watch. Only a PV
		// that is new is worth an inspect of its own.
		add: func(pv *v1.PersistentVolume, initial bool) { ix.follow(handleOf(pv), !initial) },
		update: func(old, pv *v1.PersistentVolume) {
			if before, now := handleOf(old), handleOf(pv); before != now {
				ix.forget(before)
				ix.follow(now, true)
			}
		},
		remove: func(pv *v1.PersistentVolume) { ix.forget(handleOf(pv)) },
	}
}

// MaxAddresses is how many addresses of each type count, of those that a Node lists.
// A kubelet writes one hostname and an address or two of each family, but nothing
// keeps one that is not to be trusted from writing as many as fit into an object.
const MaxAddresses = 32

func (ix *Index) newKubeNode(node *v1.Node) *kubeNode {
	n := &kubeNode{
		hostnames: []string{strings.ToLower(node.Name)},
		place:     ix.topologyKeys.of(node.Labels),
	}
	if len(node.Labels) > 0 {
		n.site = &placement.Site{Labels: placement.LabelsOf(node.Labels), Zone: n.place.zone, Rack: n.place.rack}
	}
	hostnames, ips := 0, 0
	for i := range node.Status.Addresses {
		switch address := &node.Status.Addresses[i]; {
		case address.Type == v1.NodeHostName && hostnames < MaxAddresses:
			hostnames++
			if hostname := strings.ToLower(address.Address); !slices.Contains(n.hostnames, hostname) {
				n.hostnames = append(n.hostnames, hostname)
			}
		case address.Type == v1.NodeInternalIP && ips < MaxAddresses:
			ips++
			if ip, ok := nodeIP(address.Address); ok {
				n.internalIPs = append(n.internalIPs, ip)
			}
		}
	}
	unschedulable, problem := placement.NodeUnschedulableOf(node.Annotations)
	n.unschedulable = unschedulable
	if problem != nil {
		n.problem = *problem
	}
	return n
}

// newCSINode picks the driver's entries. One without an id, which the API server
// does not let pass, shows no more than that the driver is there.
func (ix *Index) newCSINode(node *storagev1.CSINode) *csiNode {
	csi := &csiNode{}
	for i := range node.Spec.Drivers {
		driver := &node.Spec.Drivers[i]
		if !ix.registers(driver.Name) {
			continue
		}
		csi.registered = true
		if driver.NodeID != "" {
			csi.ids = append(csi.ids, driver.NodeID)
		}
	}
	slices.Sort(csi.ids)
	csi.ids = slices.Compact(csi.ids)
	return csi
}

// registers reports whether the driver goes by this name on nodes. The in-tree
// plugin has no name there: its volumes are mounted by the CSI driver to which
// Kubernetes migrates them.
func (ix *Index) registers(name string) bool {
	return ix.drivers.Has(name) || name == claims.MigratedDriver && ix.drivers.Has(claims.InTreeDriver)
}

// handler is a cache.ResourceEventHandler for objects of one type. A deletion
// that was missed counts as one.
type handler[T any] struct {
	add    func(obj T, initial bool)
	update func(old, obj T)
	remove func(obj T)
}

func (h handler[T]) OnAdd(obj any, initial bool) {
	if o, ok := obj.(T); ok {
		h.add(o, initial)
	}
}

func (h handler[T]) OnUpdate(old, obj any) {
	before, ok := old.(T)
	after, ok2 := obj.(T)
	if ok && ok2 {
		h.update(before, after)
	}
}

func (h handler[T]) OnDelete(obj any) {
	if tombstone, ok := obj.(cache.DeletedFinalStateUnknown); ok {
		obj = tombstone.Obj
	}
	if o, ok := obj.(T); ok {
		h.remove(o)
	}
}
