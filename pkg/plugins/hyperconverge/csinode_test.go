package hyperconverge

import (
	"testing"

	storagev1 "k8s.io/api/storage/v1"

	"github.com/hyperconverge/scheduler/pkg/placement"
	"github.com/hyperconverge/scheduler/pkg/volumes"
)

func TestDriverThatIsNotRegistered(t *testing.T) {
	play(t, online(3), func(s *scene) {
		s.data("data", 1)
		soft, local := makePod("soft", "data").Obj(), strict(makePod("strict", "data"))
		same(s, "scores", []int64{100, 0, 0}, s.scores(soft))
		update(s, makeCSINode(1), func(n *storagev1.CSINode) { n.Spec.Drivers = nil })
		same(s, "F5: verdicts on a soft pod", []string{placement.ReasonNoDriver, "ok", "ok"}, s.verdicts(soft))
		// That the only replica node cannot mount makes the volume unusable for strict pods,
		// whichever rule says so first.
		s.create(local)
		if _, _, status := s.preFilter(local); status.IsSuccess() {
			same(s, "F5: verdict on a strict pod", placement.ReasonNoDriver, s.verdicts(local)[0])
		}
		s.queue.taken()
		update(s, makeCSINode(1), func(*storagev1.CSINode) {})
		same(s, "F5: pods that are activated by the driver", []string{namespace + "/strict"}, s.queue.taken())
	})
}

func TestCSINodeThatIsNotBelieved(t *testing.T) {
	claimed := func(s *scene) {
		csiNode := makeCSINode(1)
		csiNode.Name = nodeName(2)
		s.create(csiNode)
	}
	const why = "nodeID of the driver in the CSINode: \"storage-1\" "
	t.Run("section 3: it is told once on its node", func(t *testing.T) {
		play(t, setting{nodes: []string{"", "NoDriver"}}, func(s *scene) {
			s.storage.nodes[storageID(1)] = volumes.StorageNode{ID: storageID(1), Hostname: "n1", State: placement.Online}
			s.storage.tellNodes()
			s.data("data", 1)
			claimed(s)
			s.storage.tellNodes()
			s.settle()
			same(s, "events", []string{
				"Node n2 InvalidValue: " + why + "is node n1 by what storage says of it; this CSINode is not believed",
			}, s.events.taken())
			same(s, "scores", []int64{100, 0}, s.scores(makePod("db", "data").Obj()))
		})
	})
	t.Run("section 3: when nothing tells which of two is right, both are told", func(t *testing.T) {
		play(t, setting{nodes: []string{"", "NoDriver"}}, func(s *scene) {
			claimed(s)
			detail := why + "is named by the CSINode of another node as well, and nothing else tells which node it is; replicas there are near to nothing"
			same(s, "events", []string{"Node n1 InvalidValue: " + detail, "Node n2 InvalidValue: " + detail}, s.events.taken())
		})
	})
}
