package sandbox

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"strconv"
	"strings"

	"github.com/hyperconverge/scheduler/internal/openstoragesim"
	"github.com/hyperconverge/scheduler/internal/sandbox/driver"
	"github.com/hyperconverge/scheduler/internal/sandbox/fakenodes"
	"github.com/hyperconverge/scheduler/internal/sandbox/ports"
	"github.com/hyperconverge/scheduler/internal/sandbox/workdir"
)

// StorageOptions choose between storage that the sandbox simulates and storage
// that is elsewhere.
type StorageOptions struct {
	// Endpoint of an OpenStorage SDK elsewhere; empty to simulate one.
	Endpoint string
	// TokenFile holds the bearer token for that endpoint; may be empty.
	TokenFile string
	// Control is host:port of the control interface of that storage, if it is a
	// simulated one; may be empty.
	Control string
	// Port and ControlPort are for simulated storage, 0 for any free port.
	Port, ControlPort int
}

// storage is storage that answers.
type storage struct {
	endpoint   string
	control    string                     // host:port, or empty
	simulation *openstoragesim.Simulation // nil if the storage is elsewhere
	driver     *driver.Storage
	nodes      []driver.StorageNode
}

// openStorage connects to the storage, after starting it if it is to be simulated.
func openStorage(ctx context.Context, options StorageOptions, places []fakenodes.Node) (*storage, error) {
	s := &storage{endpoint: options.Endpoint, control: options.Control}
	var err error
	if options.Endpoint == "" {
		if err := errors.Join(ports.CheckFree(options.Port, "--storage-port"), ports.CheckFree(options.ControlPort, "--storage-control-port")); err != nil {
			return nil, err
		}
		if s.simulation, err = simulate(places, options.Port, options.ControlPort); err != nil {
			return nil, err
		}
		s.endpoint, s.control = s.simulation.Endpoint, s.simulation.Control
	}
	if s.driver, s.nodes, err = driver.Connect(ctx, s.endpoint, options.TokenFile); err != nil {
		return nil, errors.Join(err, s.close())
	}
	return s, nil
}

func (s *storage) close() error {
	var err error
	if s.driver != nil {
		err = s.driver.Close()
	}
	if s.simulation != nil {
		err = errors.Join(err, s.simulation.Close())
	}
	return err
}

// simulate runs a storage cluster with one storage node on every node that is
// meant to have one.
func simulate(places []fakenodes.Node, port, controlPort int) (*openstoragesim.Simulation, error) {
	options := openstoragesim.SimulationOptions{
		Address:        net.JoinHostPort(ports.Loopback, strconv.Itoa(port)),
		ControlAddress: net.JoinHostPort(ports.Loopback, strconv.Itoa(controlPort)),
	}
	for _, place := range places {
		if place.Storage {
			options.Nodes = append(options.Nodes, openstoragesim.Node{
				SchedulerNodeName: place.Name,
				MgmtIP:            place.IP.String(),
				DataIP:            place.IP.String(),
				Region:            place.Region,
				Zone:              place.Zone,
				Rack:              place.Rack,
				Labels:            place.Labels(),
			})
		}
	}
	return openstoragesim.Start(options)
}

// joinStorage finds the storage node of every Kubernetes node by its name.
func joinStorage(places []fakenodes.Node, found []driver.StorageNode, endpoint string) ([]fakenodes.Node, error) {
	ids := map[string]string{} // name -> storage node id
	for _, n := range found {
		for _, name := range n.Names {
			if name != "" {
				ids[name] = n.ID
			}
		}
	}
	nodes := make([]fakenodes.Node, len(places))
	joined := 0
	for i, place := range places {
		nodes[i] = place
		if nodes[i].StorageID = ids[place.Name]; nodes[i].StorageID != "" {
			joined++
		}
	}
	switch {
	case joined > 0:
		return nodes, nil
	case len(found) == 0:
		return nil, fmt.Errorf("the storage at %s lists no nodes: it is empty, or the token in --storage-token-file may not see them", endpoint)
	default:
		return nil, fmt.Errorf("the storage at %s has %d nodes, and none of them is called %s to %s as the nodes of the sandbox are",
			endpoint, len(found), places[0].Name, places[len(places)-1].Name)
	}
}

// controlFile holds the address of the control interface, for other processes of
// the user.
const controlFile = "storage-control"

func announceControl(dir *workdir.Dir, address string) error {
	if err := os.WriteFile(dir.Join(controlFile), []byte(address), 0o600); err != nil {
		return fmt.Errorf("announcing the control address of the storage: %w", err)
	}
	return nil
}

// FindControl returns the control address of the storage of the one sandbox that
// runs on this machine with its folder below parent.
func FindControl(parent string) (string, error) {
	running, err := workdir.Running(parent)
	if err != nil {
		return "", err
	}
	var addresses []string
	for _, dir := range running {
		// A sandbox that is just starting, or uses storage that cannot be driven,
		// has no such file.
		if address, err := os.ReadFile(dir + "/" + controlFile); err == nil {
			addresses = append(addresses, string(address))
		}
	}
	switch len(addresses) {
	case 0:
		return "", errors.New("no sandbox is running whose storage can be driven; start one with \"sandbox up\" or \"sandbox storage serve\", or give its address with --control")
	case 1:
		return addresses[0], nil
	default:
		return "", fmt.Errorf("several sandboxes are running; choose one with --control, which is one of %s", strings.Join(addresses, ", "))
	}
}

// Serve runs simulated storage on its own until the context ends, announces it
// to other processes of the user, and removes the folder in the end. ready is called
// when it can be used.
func Serve(ctx context.Context, dir *workdir.Dir, places []fakenodes.Node, port, controlPort int, ready func(*openstoragesim.Simulation)) (err error) {
	defer func() { err = errors.Join(err, dir.Remove()) }()
	simulation, err := simulate(places, port, controlPort)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, simulation.Close()) }()
	if err := announceControl(dir, simulation.Control); err != nil {
		return err
	}
	ready(simulation)
	<-ctx.Done()
	return nil
}
