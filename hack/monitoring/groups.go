// Command groups prints the rule groups of a PrometheusRule, the file that
// promtool wants to see.
package main

import (
	"fmt"
	"os"

	"sigs.k8s.io/yaml"
)

func main() {
	if len(os.Args) != 2 {
		fail("usage: groups FILE")
	}
	content, err := os.ReadFile(os.Args[1])
	if err != nil {
		fail(err)
	}
	var rule struct{ Spec any }
	if err := yaml.Unmarshal(content, &rule); err != nil {
		fail(os.Args[1], err)
	}
	groups, err := yaml.Marshal(rule.Spec)
	if err != nil {
		fail(err)
	}
	if _, err := os.Stdout.Write(groups); err != nil {
		fail(err)
	}
}

func fail(message ...any) {
	fmt.Fprintln(os.Stderr, message...)
	os.Exit(1)
}
