package hyperconverge

import (
	"context"
	"time"

	v1 "k8s.io/api/core/v1"
	"k8s.io/klog/v2"

	"github.com/hyperconverge/scheduler/pkg/placement"
)

// recordLevel is the verbosity of the record of a binding.
const recordLevel = 2

// volumesRecorded bounds the length of a record.
const volumesRecorded = 32

// volumeRecord is one volume in the record of a binding.
type volumeRecord struct {
	Claim string `json:"claim"`
	// ReplicaSets are the nodes of the replicas, stripe by stripe, without those that
	// are no Kubernetes nodes; empty if they are not known.
	ReplicaSets [][]string `json:"replicaSets"`
	// Relation is that of the node to the nearest replica, of the worst stripe: local,
	// rack, zone, region or remote; unknown if the replicas are not known.
	Relation string `json:"relation"`
}

// record logs one binding of a pod with volumes, for those who keep an audit trail. The
// names of the fields stay as they are (docs/operate.md).
func (pl *Hyperconverge) record(ctx context.Context, pod *v1.Pod, nodeName string, d *decision, o *outcome) {
	logger := klog.FromContext(ctx).V(recordLevel)
	if !logger.Enabled() || len(d.pod.Volumes) == 0 {
		return
	}
	node := d.view.Node(nodeName)
	recorded := d.pod.Volumes[:min(len(d.pod.Volumes), volumesRecorded)]
	records := make([]volumeRecord, 0, len(recorded))
	for i := range recorded {
		records = append(records, recordOf(&recorded[i], node))
	}
	logger.Info("Bound pod with volumes", "pod", klog.KObj(pod), "uid", pod.UID, "node", nodeName,
		"locality", placement.LocalityOf(&d.pod, node).String(), "volumes", records, "moreVolumes", len(d.pod.Volumes)-len(recorded),
		"notTaken", o.elsewhere, "moreNotTaken", o.more, "mode", d.mode(), "durationSeconds", time.Since(d.began).Seconds(), "indexRevision", d.revision)
}

func recordOf(v *placement.Volume, node *placement.Node) volumeRecord {
	record := volumeRecord{Claim: v.Name, ReplicaSets: make([][]string, 0, len(v.Sets)), Relation: "unknown"}
	for _, set := range v.Sets {
		var names []string
		for _, holder := range set {
			if holder.Node != nil {
				names = append(names, holder.Node.Name)
			}
		}
		record.ReplicaSets = append(record.ReplicaSets, names)
	}
	if relation, known := v.Relation(node); known {
		record.Relation = relation.String()
	}
	return record
}

// mode is what the pod has asked for, or else the preference of the profile.
func (d *decision) mode() string {
	switch {
	case d.pod.Strict:
		return "Strict"
	case d.pod.Off:
		return "Off"
	case d.localFirst:
		return string(placement.LocalFirst)
	default:
		return string(placement.ScoreOnly)
	}
}
