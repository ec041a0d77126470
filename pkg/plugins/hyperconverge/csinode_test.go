package hyperconverge

import (
	"testing"

	storagev1 "k8s.io/api/storage/v1"

	"github.com/hyperconverge/scheduler/pkg/placement"
	"github.com/hyperconverge/scheduler/pkg/volumes"
)

func TestDriverThatIsNotRegistered(t *testing.T) {
	play(t, online(3), func(s *scene) {
		s.data("data", 1, 2)
		soft, local := makePod("soft", "data").Obj(), makePod("strict", "data")
		same(s, "scores", []int64{100, 100, 0}, s.scores(soft))
		update(s, makeCSINode(1), func(n *storagev1.CSINode) { n.Spec.Drivers = nil })
		same(s, "F5: verdicts on a soft pod", []string{placement.ReasonNoDriver, "ok", "ok"}, s.verdicts(soft))
		same(s, "S6: scores", []int64{0, 100, 0}, s.scores(soft))
		if got := s.verdicts(strict(local)); got[0] == "ok" || got[1] != "ok" {
			s.Errorf("F5, F6: verdicts on a strict pod: %v", got)
		}
		update(s, makeCSINode(1), func(n *storagev1.CSINode) { n.ResourceVersion = "5" })
		same(s, "F5: verdicts when the driver is back", []string{"ok", "ok", "ok"}, s.verdicts(soft))
	})
}

func TestPodIsActivatedWhenTheDriverIsRegistered(t *testing.T) {
	play(t, online(2), func(s *scene) {
		s.data("data", 1)
		bare := makeCSINode(1)
		update(s, bare, func(n *storagev1.CSINode) { n.Spec.Drivers = nil })
		pod := strict(makePod("db", "data"))
		s.create(pod)
		s.preFilter(pod)
		s.queue.taken()
		update(s, makeCSINode(1), func(n *storagev1.CSINode) { n.ResourceVersion = "5" })
		same(s, "F5: activated pods", []string{namespace + "/db"}, s.queue.taken())
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
