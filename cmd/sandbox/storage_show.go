package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"github.com/hyperconverge/scheduler/internal/openstoragesim"
)

func (d *storageDriver) nodesCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "nodes",
		Short: "List the storage nodes",
		Args:  cobra.NoArgs,
		RunE: d.run(func(ctx context.Context, control *openstoragesim.ControlClient, _ []string) error {
			state, err := control.State(ctx)
			if err != nil {
				return err
			}
			return printNodes(os.Stdout, state.Nodes, state.Volumes)
		}),
	}
}

func (d *storageDriver) volumesCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "volumes",
		Short: "List the volumes and where their replicas are",
		Args:  cobra.NoArgs,
		RunE: d.run(func(ctx context.Context, control *openstoragesim.ControlClient, _ []string) error {
			state, err := control.State(ctx)
			if err != nil {
				return err
			}
			slices.SortFunc(state.Volumes, func(a, b openstoragesim.VolumeSummary) int {
				return cmp.Or(cmp.Compare(claimOf(a), claimOf(b)), cmp.Compare(a.Name, b.Name))
			})
			return printVolumes(os.Stdout, state.Volumes, state.Nodes)
		}),
	}
}

func printNodes(out io.Writer, nodes []openstoragesim.Node, volumes []openstoragesim.VolumeSummary) error {
	replicas := map[string]int{} // node id -> replicas
	for _, v := range volumes {
		for _, set := range v.ReplicaSets {
			for _, r := range set {
				replicas[r.NodeID]++
			}
		}
	}
	rows := [][]string{{"NODE", "STATE", "REPLICAS", "REGION", "ZONE", "RACK", "ID"}}
	for _, n := range nodes {
		rows = append(rows, []string{
			cmp.Or(n.SchedulerNodeName, n.Hostname), stateWord(n), strconv.Itoa(replicas[n.ID]), n.Region, n.Zone, n.Rack, n.ID,
		})
	}
	return printTable(out, rows)
}

func printVolumes(out io.Writer, volumes []openstoragesim.VolumeSummary, nodes []openstoragesim.Node) error {
	names := map[string]string{} // node id -> name
	for _, n := range nodes {
		names[n.ID] = cmp.Or(n.SchedulerNodeName, n.Hostname, n.ID)
	}
	rows := [][]string{{"CLAIM", "REPLICAS", "ATTACHED", "ID", "NAME"}}
	for _, v := range volumes {
		rows = append(rows, []string{
			claimOf(v), replicasOf(v, names), cmp.Or(names[v.AttachedOn], v.AttachedOn, "-"), v.ID, v.Name,
		})
	}
	return printTable(out, rows)
}

func printTable(out io.Writer, rows [][]string) error {
	table := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	for _, row := range rows {
		if _, err := io.WriteString(table, strings.Join(row, "\t")+"\n"); err != nil {
			return err
		}
	}
	return table.Flush()
}

// replicasOf lists nodes, with a bar between replica sets.
func replicasOf(v openstoragesim.VolumeSummary, names map[string]string) string {
	var sets []string
	for _, set := range v.ReplicaSets {
		var nodes []string
		for _, r := range set {
			nodes = append(nodes, cmp.Or(names[r.NodeID], r.NodeID))
		}
		sets = append(sets, strings.Join(nodes, ","))
	}
	return cmp.Or(strings.Join(sets, " | "), "-")
}

// claimOf is namespace/name of the claim that the volume was made for.
func claimOf(v openstoragesim.VolumeSummary) string {
	if v.Labels[openstoragesim.LabelPVC] == "" {
		return "-"
	}
	return v.Labels[openstoragesim.LabelNamespace] + "/" + v.Labels[openstoragesim.LabelPVC]
}

func stateWord(n openstoragesim.Node) string {
	word := strings.ToLower(strings.TrimPrefix(n.Status.String(), "STATUS_"))
	if word == "ok" {
		return "online"
	}
	return word
}

// findVolume returns the volume that a person means by id, name, claim, or
// namespace/claim.
func findVolume(volumes []openstoragesim.VolumeSummary, meant string) (openstoragesim.VolumeSummary, error) {
	var found []openstoragesim.VolumeSummary
	for _, v := range volumes {
		switch meant {
		case v.ID, v.Name:
			return v, nil
		case claimOf(v), v.Labels[openstoragesim.LabelPVC]:
			found = append(found, v)
		}
	}
	switch len(found) {
	case 0:
		return openstoragesim.VolumeSummary{}, fmt.Errorf("no volume is called %q, and none was made for a claim of that name; see \"sandbox storage volumes\"", meant)
	case 1:
		return found[0], nil
	default:
		var claims []string
		for _, v := range found {
			claims = append(claims, claimOf(v))
		}
		slices.Sort(claims)
		return openstoragesim.VolumeSummary{}, fmt.Errorf("several claims are called %q: %s", meant, strings.Join(claims, ", "))
	}
}
