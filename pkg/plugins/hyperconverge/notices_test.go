package hyperconverge

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	v1 "k8s.io/api/core/v1"
	st "k8s.io/kubernetes/pkg/scheduler/testing"

	"github.com/hyperconverge/scheduler/pkg/placement"
	"github.com/hyperconverge/scheduler/pkg/volumes"
)

func TestNoticesAreGivenOnce(t *testing.T) {
	t.Run("section 2: an invalid value is told once per object, not per attempt", func(t *testing.T) {
		play(t, online(1), func(s *scene) {
			s.data("data", 1)
			pod := makePod("db", "data").Annotation(placement.PodPreferLocalOnly, "yes").Obj()
			for range 3 {
				s.preFilter(pod)
			}
			same(s, "events", 1, len(s.events.taken()))
		})
	})
	t.Run("section 2: another pod with the same mistake is told as well", func(t *testing.T) {
		play(t, online(1), func(s *scene) {
			s.data("data", 1)
			for _, name := range []string{"a", "b"} {
				s.preFilter(makePod(name, "data").Annotation(placement.PodPreferLocalOnly, "yes").Obj())
			}
			same(s, "events", 2, len(s.events.taken()))
		})
	})
	t.Run("section 2: a claim with a mistake is told once, however many pods use it", func(t *testing.T) {
		play(t, online(1), func(s *scene) {
			s.add(volume{name: "data", sets: on(1), claim: func(c *v1.PersistentVolumeClaim) { c.Annotations[placement.VolumeWeight] = "heavy" }})
			s.preFilter(makePod("a", "data").Obj())
			s.preFilter(makePod("b", "data").Obj())
			same(s, "events", []string{
				`PersistentVolumeClaim data InvalidValue: hyperconverge.dev/volume-weight: "heavy" is not a whole number from 1 to 100, 1 is used`,
			}, s.events.taken())
		})
	})
	t.Run("section 2: several mistakes of one object are events of their own, which client-go does not merge", func(t *testing.T) {
		play(t, online(1), func(s *scene) {
			s.add(volume{name: "data", sets: on(1), claim: func(c *v1.PersistentVolumeClaim) {
				c.Annotations[placement.VolumeWeight] = "heavy"
				c.Annotations[placement.VolumeSkipScoring] = "perhaps"
				c.Annotations[placement.ClaimRestoreInProgress] = "soon"
			}})
			s.preFilter(makePod("db", "data").Obj())
			same(s, "events", 3, len(s.events.taken()))
			slices.Sort(s.events.fields)
			same(s, "fields", []string{placement.VolumeWeight, placement.ClaimRestoreInProgress, placement.VolumeSkipScoring}, s.events.fields)
		})
	})
	t.Run("section 2: a long value is cut short, however many claims have one", func(t *testing.T) {
		play(t, online(1), func(s *scene) {
			s.add(volume{name: "data", sets: on(1), claim: func(c *v1.PersistentVolumeClaim) {
				c.Annotations[placement.VolumeSkipScoring] = strings.Repeat("ä", 100_000)
			}})
			s.preFilter(makePod("db", "data").Obj())
			events := s.events.taken()
			same(s, "events", 1, len(events))
			if n := len(events[0]); n > 400 {
				s.Errorf("an event of %d bytes", n)
			}
		})
	})
	t.Run("section 7: a pod with a great many unknown volumes is told once", func(t *testing.T) {
		play(t, online(1), func(s *scene) {
			pod := makePod("db")
			for i := range 100 {
				pod.Volume(inTree(fmt.Sprintf("invented-%d", i)))
			}
			s.pending(pod.Obj())
			s.pass(time.Minute)
			s.preFilter(pod.Obj())
			same(s, "events", []string{"Pod db VolumeUnknown: Scheduling without regard to the volumes of invented-0, invented-1, invented-2, invented-3, " +
				"and 96 more volumes: their replicas are not known"}, s.events.taken())
		})
	})
	t.Run("section 2: a key that is nearly one of ours is told on the object that bears it", func(t *testing.T) {
		play(t, online(1), func(s *scene) {
			class := st.MakeStorageClass().Name("near").Provisioner(driver).Obj()
			class.Parameters = map[string]string{"stork.libopenstorage.org/preferRemoteNodes": "false"}
			s.create(class)
			s.add(volume{name: "data", sets: on(1), claim: func(c *v1.PersistentVolumeClaim) {
				className("near")(c)
				c.Annotations["hyperconverge.dev/volumeweight"] = "3"
				c.Annotations["stork.libopenstorage.org/snapshot-type"] = "cloud"
			}})
			s.preFilter(makePod("db", "data").Annotation("stork.libopenstorage.org/preferLocalNodesOnly", "true").Obj())
			same(s, "events", []string{
				`Pod db InvalidValue: stork.libopenstorage.org/preferLocalNodesOnly: "true" has no effect: did you mean stork.libopenstorage.org/preferLocalNodeOnly?`,
				`PersistentVolumeClaim data InvalidValue: hyperconverge.dev/volumeweight: "3" has no effect: did you mean hyperconverge.dev/volume-weight?`,
				`StorageClass near InvalidValue: stork.libopenstorage.org/preferRemoteNodes: "false" has no effect: did you mean stork.libopenstorage.org/preferRemoteNode?`,
				`PersistentVolumeClaim data InvalidValue: stork.libopenstorage.org/preferRemoteNodes: "false" has no effect: did you mean stork.libopenstorage.org/preferRemoteNode? (in StorageClass near)`,
			}, s.events.taken())
		})
	})
	t.Run("section 2: a class with a mistake is told once on the class, and once on each claim that is of it", func(t *testing.T) {
		play(t, online(1), func(s *scene) {
			class := st.MakeStorageClass().Name("heavy").Provisioner(driver).Obj()
			class.Parameters = map[string]string{placement.VolumeWeight: "heavy"}
			s.create(class)
			s.add(volume{name: "parameter", sets: on(1), claim: className("heavy")})
			s.add(volume{name: "copied", sets: on(1), claim: className("heavy"), stored: func(o *volumes.Observation) { o.Labels = class.Parameters }})
			s.preFilter(makePod("a", "parameter").Obj())
			s.preFilter(makePod("b", "copied").Obj())
			const mistake = `InvalidValue: hyperconverge.dev/volume-weight: "heavy" is not a whole number from 1 to 100, 1 is used`
			same(s, "events", []string{
				"StorageClass heavy " + mistake,
				"PersistentVolumeClaim parameter " + mistake + " (in StorageClass heavy)",
				"PersistentVolumeClaim copied " + mistake + " (in StorageClass heavy)",
			}, s.events.taken())
		})
	})
	t.Run("section 2: a volume with a mistake is told on the claim, or on the pod if that names the volume itself", func(t *testing.T) {
		play(t, online(1), func(s *scene) {
			odd := func(o *volumes.Observation) { o.Labels = map[string]string{placement.VolumeWeight: "odd"} }
			s.add(volume{name: "claimed", sets: on(1), stored: odd})
			handle := s.add(volume{name: "named", sets: on(1), stored: odd})
			s.preFilter(makePod("a", "claimed").Obj())
			s.preFilter(makePod("b").Volume(inTree(handle)).Obj())
			same(s, "events", []string{
				`PersistentVolumeClaim claimed InvalidValue: hyperconverge.dev/volume-weight: "odd" is not a whole number from 1 to 100, 1 is used`,
				`Pod b InvalidValue: hyperconverge.dev/volume-weight: "odd" is not a whole number from 1 to 100, 1 is used`,
			}, s.events.taken())
		})
	})
	t.Run("section 2: another mistake in the same place is told again", func(t *testing.T) {
		play(t, online(1), func(s *scene) {
			s.data("data", 1)
			s.preFilter(makePod("db", "data").Annotation(placement.PodPreferLocalOnly, "yes").Obj())
			s.preFilter(makePod("db", "data").Annotation(placement.PodPreferLocalOnly, "yes!").Obj())
			same(s, "events", 2, len(s.events.taken()))
		})
	})
	t.Run("section 2: a node with a mistake is told once, and the node stays open", func(t *testing.T) {
		play(t, online(1), func(s *scene) {
			node, _, _ := makeNode(1, "")
			for _, label := range []string{"a", "b"} {
				update(s, node, func(n *v1.Node) {
					n.Labels = map[string]string{v1.LabelTopologyZone: label}
					n.Annotations = map[string]string{placement.NodeUnschedulable: "maybe"}
				})
			}
			same(s, "events", []string{
				`Node n1 InvalidValue: operator.libopenstorage.org/unschedulable: "maybe" is not a boolean, false is used`,
			}, s.events.taken())
			s.data("data", 1)
			same(s, "verdicts", []string{"ok"}, s.verdicts(makePod("db", "data").Obj()))
		})
	})
}

func TestNotesFitIntoEvents(t *testing.T) {
	play(t, online(1), func(s *scene) {
		pod := makePod("db")
		for i := range volumesNamed {
			pod.Volume(inTree(fmt.Sprint(i, strings.Repeat("ä", 120))))
		}
		s.pending(pod.Obj())
		s.pass(time.Minute)
		s.preFilter(pod.Obj())
		events := s.events.taken()
		same(s, "events", 1, len(events))
		note := strings.TrimPrefix(events[0], "Pod db VolumeUnknown: ")
		if len(note) > noteLimit || !strings.HasSuffix(note, " ...") || !utf8.ValidString(note) {
			s.Errorf("note of %d bytes: %s", len(note), note)
		}
	})
}
