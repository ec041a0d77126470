package placement_test

import (
	"testing"

	"github.com/hyperconverge/scheduler/pkg/placement"
)

func TestVirtualMachines(t *testing.T) {
	racks := []string{"rack=r1", "rack=r2", "rack=r1", "rack=r3"}
	runScenarios(t, []scenario{
		{
			name:    "S8: a virtual machine that starts is near its disks",
			nodes:   racks,
			machine: placement.MachineStarting,
			volumes: []volume{near("A@{1,2}")},
			scores:  "100 100 50 0",
		},
		{
			name:    "S8: at the start a replica node that the disk is attached to is best of all",
			nodes:   racks,
			machine: placement.MachineStarting,
			volumes: []volume{near("A@{1,2}").attached(2)},
			scores:  "50 100 25 0",
		},
		{
			name:    "S8: at the start attachment to a node without a replica changes nothing",
			nodes:   racks,
			machine: placement.MachineStarting,
			volumes: []volume{near("A@{1,2}").attached(4)},
			scores:  "100 100 50 0",
		},
		{
			name:    "S8: at the start attachment to a partial replica node changes nothing",
			nodes:   online(3),
			machine: placement.MachineStarting,
			volumes: []volume{near("A@{1,2}{1,3}").attached(2)},
			scores:  "100 50 50",
		},
		{
			name:    "S8: attachment is best even where local is worth little",
			nodes:   online(3),
			machine: placement.MachineStarting,
			tiers:   placement.Tiers{Local: 10},
			volumes: []volume{near("A@{1,2}").attached(2)},
			scores:  "5 100 0",
		},
		{
			name:    "S8: in a migration replica nodes are avoided and others preferred",
			nodes:   racks,
			machine: placement.MachineMigrating,
			volumes: []volume{near("A@{1,2}")},
			scores:  "0 0 50 50",
		},
		{
			name:    "S8: in a migration a replica node that the disk is attached to is best of all",
			nodes:   racks,
			machine: placement.MachineMigrating,
			volumes: []volume{near("A@{1,2}").attached(2)},
			scores:  "0 100 50 50",
		},
		{
			name:    "S8: in a migration a node without a replica that the disk is attached to is one of the others",
			nodes:   racks,
			machine: placement.MachineMigrating,
			volumes: []volume{near("A@{1,2}").attached(3)},
			scores:  "0 0 50 50",
		},
		{
			name:    "S8: in a migration nodes with a part of the volume are no replica nodes, attached or not",
			nodes:   online(4),
			machine: placement.MachineMigrating,
			volumes: []volume{near("A@{1,2}{1,3}").attached(2)},
			scores:  "0 50 50 50",
		},
		{
			name:    "S8: StorageDown halves in both cases",
			nodes:   []string{"StorageDown", "", "StorageDown"},
			machine: placement.MachineMigrating,
			volumes: []volume{near("A@{1,2}").attached(1)},
			scores:  "50 0 25",
		},
		{
			name:    "S8: at the start the attached StorageDown node gets half",
			nodes:   []string{"StorageDown", "", ""},
			machine: placement.MachineStarting,
			volumes: []volume{near("A@{1,2}").attached(1)},
			scores:  "50 50 0",
		},
		{
			name:    "S8: all disks of the machine count, each with its own attachment",
			nodes:   online(4),
			machine: placement.MachineMigrating,
			volumes: []volume{near("A@{1,2}").attached(1), near("B@{1,3}").attached(3)},
			scores:  "50 25 75 50", // (100+0)/2, (0+50)/2, (50+100)/2, (50+50)/2
		},
		{
			name:    "S8: nodes that do not serve are no target",
			nodes:   []string{"", "Offline", "absent", "NoDriver"},
			machine: placement.MachineMigrating,
			volumes: []volume{near("A@{1}").attached(1)},
			scores:  "100 0 0 0",
		},
		{
			name:    "S8: a shared disk with a service is a disk like any other at the start",
			nodes:   online(4),
			machine: placement.MachineStarting,
			volumes: []volume{away("A@{1,2}").attached(1)},
			scores:  "100 50 0 0",
		},
		{
			name:    "S8: a shared disk with a service is a disk like any other in a migration",
			nodes:   online(4),
			machine: placement.MachineMigrating,
			volumes: []volume{away("A@{1,2}").attached(2)},
			scores:  "0 100 50 50",
		},
		{
			name:    "S8: disks of both kinds count by their weights",
			nodes:   online(3),
			machine: placement.MachineStarting,
			volumes: []volume{near("A@{1}"), away("B@{2}").weighing(3)},
			scores:  "25 75 0",
		},
		{
			name:     "F7: a remote-only disk stays remote, and the machine still comes as near as that allows",
			nodes:    racks,
			machine:  placement.MachineStarting,
			volumes:  []volume{remoteOnly("A@{1}")},
			verdicts: "RemoteOnly ok ok ok",
			scores:   "100 0 50 0",
		},
		{
			name:     "F6: a strict machine is not confined to the replica nodes of a shared disk with a service",
			nodes:    online(3),
			pod:      strict,
			machine:  placement.MachineStarting,
			volumes:  []volume{away("A@{1}")},
			verdicts: "ok ok ok",
			scores:   "100 0 0",
		},
		{
			name:    "S8: attachment counts for virtual machines alone",
			nodes:   online(3),
			volumes: []volume{near("A@{1,2}").attached(2)},
			scores:  "100 100 0",
		},
	})
}

func TestMigrating(t *testing.T) {
	for machine, want := range map[placement.Machine]bool{
		placement.NoMachine: false, placement.MachineStarting: false, placement.MachineMigrating: true,
	} {
		if got := newCluster(t, nil).mustPlan(t, scenario{machine: machine}).Migrating(); got != want {
			t.Errorf("machine %d: Migrating() = %t, want %t", machine, got, want)
		}
	}
}
