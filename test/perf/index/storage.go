package main

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"slices"
	"strconv"
	"sync"
	"time"

	sim "github.com/hyperconverge/scheduler/internal/openstoragesim"
)

// The simulated storage cluster is a process of its own, so that neither its
// memory nor its garbage is taken for the scheduler's. It is told what to do on
// its standard input, one JSON order a line, and answers on its standard output.

type order struct {
	// Move has one replica of the volume moved.
	Move string `json:"move,omitempty"`
	// Load has that many replicas of other volumes moved per second from now on.
	Load *int `json:"load,omitempty"`
	// Calls asks for the SDK calls since the last time.
	Calls bool `json:"calls,omitempty"`
}

type report struct {
	// Of the start.
	Endpoint string   `json:"endpoint,omitempty"`
	Nodes    []string `json:"nodes,omitempty"`
	Volumes  []string `json:"volumes,omitempty"`
	// Of a move: its time, and where the replicas are now.
	Moved    time.Time `json:"moved,omitzero"`
	Replicas []string  `json:"replicas,omitempty"`
	// Of calls.
	Calls map[string]int `json:"calls,omitempty"`
	// Loaded is how many moves the load has made so far.
	Loaded int `json:"loaded,omitempty"`
}

// serveStorage is the storage process.
func serveStorage(ctx context.Context, p plan) error {
	cluster := sim.NewCluster(sim.Options{})
	server := sim.NewServer(cluster, sim.ServerOptions{})
	for i := range p.nodes {
		if _, err := cluster.AddNode(sim.Node{SchedulerNodeName: nodeName(i)}); err != nil {
			return err
		}
	}
	if err := cluster.Fill(p.volumes, map[string]string{"repl": "3"}); err != nil {
		return err
	}
	if err := server.Start("127.0.0.1:0"); err != nil {
		return err
	}
	defer server.Stop()

	first := report{Endpoint: server.Endpoint()}
	for _, node := range cluster.Nodes() {
		first.Nodes = append(first.Nodes, node.ID)
	}
	for v := range cluster.Volumes() {
		first.Volumes = append(first.Volumes, v.GetId())
	}
	answers, orders := json.NewEncoder(os.Stdout), json.NewDecoder(bufio.NewReader(os.Stdin))
	if err := answers.Encode(first); err != nil {
		return err
	}
	l := load{cluster: cluster, volumes: first.Volumes}
	defer l.set(ctx, 0)
	for {
		var o order
		if err := orders.Decode(&o); err == io.EOF {
			return nil
		} else if err != nil {
			return err
		}
		var answer report
		switch {
		case o.Move != "":
			replicas, err := move(cluster, o.Move)
			if err != nil {
				return err
			}
			answer.Moved, answer.Replicas = time.Now(), replicas
		case o.Load != nil:
			answer.Loaded = l.set(ctx, *o.Load)
		case o.Calls:
			answer.Calls = server.Calls(true)
		}
		if err := answers.Encode(answer); err != nil {
			return err
		}
	}
}

func nodeName(i int) string { return "node-" + strconv.Itoa(i) }

// move puts one replica of the volume on a node that has none.
func move(cluster *sim.Cluster, volume string) (replicas []string, err error) {
	v, err := cluster.Volume(volume)
	if err != nil {
		return nil, err
	}
	replicas = slices.Clone(v.GetReplicaSets()[0].GetNodes())
	nodes := cluster.Nodes()
	for {
		node := nodes[rand.IntN(len(nodes))].ID
		if !slices.Contains(replicas, node) {
			replicas[rand.IntN(len(replicas))] = node
			return replicas, cluster.SetReplicaSets(volume, replicas)
		}
	}
}

// load moves replicas of the second half of the volumes; the first half is for
// the moves that are timed.
type load struct {
	cluster *sim.Cluster
	volumes []string
	stop    context.CancelFunc
	done    sync.WaitGroup
	moved   int
}

// set changes the load to so many moves per second, and returns how many the one
// before has made.
func (l *load) set(ctx context.Context, perSecond int) int {
	if l.stop != nil {
		l.stop()
		l.done.Wait()
		l.stop = nil
	}
	moved := l.moved
	l.moved = 0
	if perSecond == 0 {
		return moved
	}
	ctx, l.stop = context.WithCancel(ctx)
	others := l.volumes[len(l.volumes)/2:]
	l.done.Go(func() {
		start := time.Now()
		for ctx.Err() == nil {
			for due := int(time.Since(start).Seconds() * float64(perSecond)); l.moved < due; l.moved++ {
				if _, err := move(l.cluster, others[rand.IntN(len(others))]); err != nil {
					fmt.Fprintln(os.Stderr, "load:", err)
					return
				}
			}
			time.Sleep(time.Millisecond)
		}
	})
	return moved
}

// storage is the other process, as the measuring one sees it.
type storage struct {
	report
	orders  *json.Encoder
	answers *json.Decoder
	stop    func()
}

// startStorage runs this program once more, as storage.
func startStorage(ctx context.Context, p plan) (*storage, error) {
	self, err := os.Executable()
	if err != nil {
		return nil, err
	}
	command := exec.CommandContext(ctx, self, "-serve-storage",
		"-volumes", strconv.Itoa(p.volumes), "-nodes", strconv.Itoa(p.nodes))
	command.Stderr = os.Stderr
	in, err := command.StdinPipe()
	if err != nil {
		return nil, err
	}
	out, err := command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := command.Start(); err != nil {
		return nil, err
	}
	s := &storage{orders: json.NewEncoder(in), answers: json.NewDecoder(bufio.NewReader(out))}
	s.stop = func() {
		// Without orders it ends; how is of no interest any more.
		_ = in.Close()
		_ = command.Wait()
	}
	if err := s.answers.Decode(&s.report); err != nil {
		s.stop()
		return nil, fmt.Errorf("start the simulated storage: %w", err)
	}
	return s, nil
}

func (s *storage) do(o order) (answer report, err error) {
	if err = s.orders.Encode(o); err == nil {
		err = s.answers.Decode(&answer)
	}
	if err != nil {
		err = fmt.Errorf("talk to the simulated storage: %w", err)
	}
	return answer, err
}
