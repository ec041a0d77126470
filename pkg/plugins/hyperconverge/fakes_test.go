package hyperconverge

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	v1 "k8s.io/api/core/v1"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/tools/reference"
	"k8s.io/klog/v2"
	fwk "k8s.io/kube-scheduler/framework"

	"github.com/hyperconverge/scheduler/pkg/placement"
	"github.com/hyperconverge/scheduler/pkg/volumes"
)

// storageTable is a storage system that is a table. It is the source of the
// index.
type storageTable struct {
	index *volumes.Index
	mu    sync.Mutex
	// nodes: storage node id → record.
	nodes map[string]volumes.StorageNode
	// volumes: handle → what storage says of it.
	volumes map[string]volumes.Observation
	// down says that nobody answers what the index wants to know.
	down bool
}

func newStorageTable() *storageTable {
	return &storageTable{nodes: map[string]volumes.StorageNode{}, volumes: map[string]volumes.Observation{}}
}

// Run answers what the index wants to know.
func (s *storageTable) Run(ctx context.Context) {
	defer s.index.Subscribe(func(change volumes.Change) {
		for _, handle := range change.Requested {
			s.tell(handle)
		}
	})()
	<-ctx.Done()
}

// tell inspects a volume if the table has it.
func (s *storageTable) tell(handle string) {
	s.mu.Lock()
	o, found := s.volumes[handle]
	found = found && !s.down
	s.mu.Unlock()
	if !found {
		return
	}
	if inspection, followed := s.index.Begin(handle); followed {
		if _, err := inspection.Found(&o); err != nil {
			panic(err)
		}
	}
}

// put takes a volume into the table, under its id and its name, and tells the
// index if that follows it.
func (s *storageTable) put(o volumes.Observation) {
	s.mu.Lock()
	s.volumes[o.ID], s.volumes[o.Name] = o, o
	s.down = false
	s.mu.Unlock()
	s.tell(o.ID)
	s.tell(o.Name)
}

// tellOf tells the index of a volume by its id.
func (s *storageTable) tellOf(o volumes.Observation) {
	s.mu.Lock()
	s.volumes[o.ID] = o
	s.mu.Unlock()
	s.tell(o.ID)
}

// tellNodes sends the list of nodes.
func (s *storageTable) tellNodes() {
	s.mu.Lock()
	list := slices.Collect(maps.Values(s.nodes))
	s.down = false
	s.mu.Unlock()
	s.index.SetStorageNodes(list)
}

// nodeState changes how storage stands on a node.
func (s *scene) nodeState(n int, state placement.StorageState) {
	s.storage.mu.Lock()
	record := s.storage.nodes[storageID(n)]
	record.ID, record.State = storageID(n), state
	s.storage.nodes[record.ID] = record
	s.storage.mu.Unlock()
	s.storage.tellNodes()
	s.settle()
}

// replicas moves the replicas of a volume, or makes it known.
func (s *scene) replicas(handle string, nodes ...int) {
	s.storage.put(observation(handle, on(nodes...)))
	s.settle()
}

// queue notes the pods that are activated. Nobody is nominated.
type queue struct {
	fwk.PodNominator
	mu        sync.Mutex
	activated []string
}

func (q *queue) Activate(_ klog.Logger, pods map[string]*v1.Pod) {
	q.mu.Lock()
	defer q.mu.Unlock()
	q.activated = append(q.activated, slices.Sorted(maps.Keys(pods))...)
}

// taken returns what has been activated since the last call.
func (q *queue) taken() []string {
	q.mu.Lock()
	defer q.mu.Unlock()
	activated := q.activated
	q.activated = nil
	return activated
}

func (q *queue) NominatedPodsForNode(string) []fwk.PodInfo { return nil }

// eventList notes events as "Kind name reason: note".
type eventList struct {
	mu   sync.Mutex
	list []string
	// fields are those of the references, of all events so far.
	fields []string
}

// WithLogger implements events.EventRecorderLogger, which newer minors ask for.
func (l *eventList) WithLogger(klog.Logger) events.EventRecorderLogger { return l }

func (l *eventList) Eventf(regarding, _ runtime.Object, eventType, reason, action, note string, args ...any) {
	ref, err := reference.GetReference(scheme.Scheme, regarding)
	if err != nil {
		panic(err)
	}
	if (eventType == v1.EventTypeWarning) == (reason == EventReplicaExpected || reason == EventStorageRecovered) || action == "" {
		panic(fmt.Sprintf("event %s of type %q with action %q", reason, eventType, action))
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.list = append(l.list, fmt.Sprintf("%s %s %s: %s", ref.Kind, ref.Name, reason, fmt.Sprintf(note, args...)))
	l.fields = append(l.fields, ref.FieldPath)
}

// taken returns the events since the last call.
func (l *eventList) taken() []string {
	l.mu.Lock()
	defer l.mu.Unlock()
	list := l.list
	l.list = nil
	return list
}
