package perf

import (
	"encoding/json"
	"net"
	"net/http"
	"testing"

	"k8s.io/apimachinery/pkg/util/sets"
	extenderv1 "k8s.io/kube-scheduler/extender/v1"
)

// extenderForm is how an extender is deployed.
type extenderForm struct {
	// names has the names of nodes sent to it instead of the nodes.
	names bool
	// weight is that of its scores, of which full is the one of a replica node.
	weight, full int64
}

// startExtender serves the least that an extender for hyperconvergence can do,
// and returns its URL: Filter lets all nodes pass, Prioritize gives full marks of
// its form to the nodes that hold a replica. It asks no storage API, keeps everything in
// memory, and does not even decode the nodes that it is sent beyond their names.
// What remains is the price of the interface.
func startExtender(tb testing.TB, c *cluster, f *extenderForm) (url string, err error) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("/filter", passAll)
	mux.HandleFunc("/prioritize", func(w http.ResponseWriter, r *http.Request) { prioritize(c, f.full, w, r) })
	server := &http.Server{Handler: mux}
	served := make(chan struct{})
	go func() {
		defer close(served)
		_ = server.Serve(listener) // it ends when it is closed
	}()
	tb.Cleanup(func() {
		if err := server.Close(); err != nil {
			tb.Error(err)
		}
		<-served
	})
	return "http://" + listener.Addr().String(), nil
}

// passAll sends the nodes, or their names, back as they came.
func passAll(w http.ResponseWriter, r *http.Request) {
	var args struct{ Nodes, NodeNames json.RawMessage }
	if err := json.NewDecoder(r.Body).Decode(&args); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	answer(w, args)
}

func prioritize(c *cluster, full int64, w http.ResponseWriter, r *http.Request) {
	type named struct{ Metadata struct{ Name string } }
	var args struct {
		Pod struct {
			Spec struct {
				Volumes []struct {
					PersistentVolumeClaim *struct{ ClaimName string }
				}
			}
		}
		Nodes     struct{ Items []named }
		NodeNames []string
	}
	if err := json.NewDecoder(r.Body).Decode(&args); err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	replicaNodes := sets.Set[string]{}
	for _, volume := range args.Pod.Spec.Volumes {
		if claim := volume.PersistentVolumeClaim; claim != nil {
			replicaNodes = replicaNodes.Union(c.replicaNodes[claim.ClaimName])
		}
	}
	for _, node := range args.Nodes.Items {
		args.NodeNames = append(args.NodeNames, node.Metadata.Name)
	}
	scores := make(extenderv1.HostPriorityList, len(args.NodeNames))
	for i, name := range args.NodeNames {
		scores[i].Host = name
		if replicaNodes.Has(name) {
			scores[i].Score = full
		}
	}
	answer(w, scores)
}

func answer(w http.ResponseWriter, result any) {
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(result); err != nil {
		panic(http.ErrAbortHandler) // the scheduler has gone away
	}
}
