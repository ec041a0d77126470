package child

import (
	"testing"

	"github.com/hyperconverge/scheduler/internal/sandbox/process"
	"github.com/hyperconverge/scheduler/test/kit"
)

func TestChildFindsNothingOfThisMachineInItsEnvironment(t *testing.T) {
	t.Setenv("SECRET", "of this machine")
	p := Run(t, process.Command{Name: "env", Path: "/usr/bin/env", Env: []string{"HOME=/nonexistent"}}, "")
	death, err := p.Death(kit.Soon)
	if err != nil {
		t.Fatal(err)
	}
	if said := p.Said(0); said != "HOME=/nonexistent\n" || death.Status != "exit status 0" {
		t.Errorf("it ended with %s and said %q", death.Status, said)
	}
}
