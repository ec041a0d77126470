package hyperconverge

// podsByHandle: volume handle → the pods that use it. The pods of one volume stand in
// a ring, so that coming and going costs the same however many they are.
type podsByHandle[Pod any] map[string]*podRing[Pod]

// podRing are the pods that use a volume.
type podRing[Pod any] struct {
	// next is the pod whose turn it is when the volume changes. New pods come in
	// behind all others.
	next *podLink[Pod]
	size int
}

// podLink is the place of one pod in the ring of one of its volumes.
type podLink[Pod any] struct {
	pod            *Pod
	handle         string
	previous, next *podLink[Pod]
}

// link puts a pod behind the others of each of the volumes and returns its places, one
// for each handle.
func (rings podsByHandle[Pod]) link(pod *Pod, handles []string) []podLink[Pod] {
	if len(handles) == 0 {
		return nil
	}
	links := make([]podLink[Pod], len(handles))
	for i, handle := range handles {
		l := &links[i]
		l.pod, l.handle = pod, handle
		ring := rings[handle]
		if ring == nil {
			ring = &podRing[Pod]{next: l}
			l.previous, l.next = l, l
			rings[handle] = ring
		}
		before := ring.next.previous
		l.previous, l.next = before, ring.next
		before.next, ring.next.previous = l, l
		ring.size++
	}
	return links
}

// unlink takes a pod out of all rings that link has put it into.
func (rings podsByHandle[Pod]) unlink(links []podLink[Pod]) {
	for i := range links {
		l := &links[i]
		ring := rings[l.handle]
		if ring.next == l {
			ring.next = l.next
		}
		l.previous.next, l.next.previous = l.next, l.previous
		if ring.size--; ring.size == 0 {
			delete(rings, l.handle)
		}
	}
}
