package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"
	"google.golang.org/grpc/codes"

	"github.com/hyperconverge/scheduler/internal/openstoragesim"
)

func (d *storageDriver) faultsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "faults [none | outage | hang | latency DURATION | no-watch | disconnect | JSON]",
		Short: "Show or set what is wrong with the SDK",
		Long: `Show what is wrong with the SDK of the simulated storage, or set it. Setting replaces
what was set before.

  none              it is healthy
  outage            every call is answered with Unavailable
  hang              no call is ever answered
  latency DURATION  every call takes that much longer
  no-watch          as an older server, it has no watch
  disconnect        its port is closed; any other word opens it again
  JSON              anything else that it can simulate, as it shows it`,
		Example: `  sandbox storage faults outage
  sandbox storage faults latency 2s
  sandbox storage faults '{"hideVolumes": 0.5, "watch": {"drop": 0.2}}'
  sandbox storage faults none`,
		Args: cobra.MaximumNArgs(2),
		RunE: d.run(func(ctx context.Context, control *openstoragesim.ControlClient, args []string) error {
			if len(args) > 0 && args[0] == "disconnect" && len(args) == 1 {
				return control.SetConnected(ctx, false)
			}
			if len(args) > 0 {
				faults, err := parseFaults(args)
				if err != nil {
					return err
				}
				if err := control.SetFaults(ctx, faults); err != nil {
					return err
				}
				if err := control.SetConnected(ctx, true); err != nil {
					return err
				}
			}
			state, err := control.State(ctx)
			if err != nil {
				return err
			}
			text, err := json.MarshalIndent(state.Faults, "", "  ")
			if err != nil {
				return err
			}
			fmt.Println(string(text))
			return nil
		}),
	}
}

// parseFaults reads the arguments of "faults".
func parseFaults(args []string) (openstoragesim.Faults, error) {
	all := func(fault openstoragesim.CallFault) (openstoragesim.Faults, error) {
		return openstoragesim.Faults{Calls: map[string]openstoragesim.CallFault{"*": fault}}, nil
	}
	word, rest := args[0], args[1:]
	if word == "latency" {
		if len(rest) != 1 {
			return openstoragesim.Faults{}, errors.New("latency needs a duration, such as 500ms")
		}
		latency, err := time.ParseDuration(rest[0])
		if err != nil || latency < 0 {
			return openstoragesim.Faults{}, fmt.Errorf("latency %q is not a duration such as 500ms", rest[0])
		}
		return all(openstoragesim.CallFault{Latency: latency})
	}
	if len(rest) > 0 {
		return openstoragesim.Faults{}, fmt.Errorf("%q takes no further argument", word)
	}
	switch word {
	case "none":
		return openstoragesim.Faults{}, nil
	case "outage":
		return openstoragesim.Outage(), nil
	case "hang":
		return all(openstoragesim.CallFault{Hang: true})
	case "no-watch":
		return openstoragesim.Faults{Calls: map[string]openstoragesim.CallFault{"Watch.Watch": {Code: codes.Unimplemented}}}, nil
	}
	if !strings.HasPrefix(word, "{") {
		return openstoragesim.Faults{}, fmt.Errorf("fault %q is none of those that \"sandbox storage faults --help\" lists", word)
	}
	faults, err := openstoragesim.ParseFaults(word)
	if err != nil {
		return openstoragesim.Faults{}, fmt.Errorf("reading the faults: %w", err)
	}
	return faults, nil
}
