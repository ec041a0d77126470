// Command webhook is the mutating admission webhook that gives pods with volumes
// of the storage driver to the hyperconverge scheduler.
package main

import (
	"fmt"
	"os"
)

func main() {
	if err := newCommand().Execute(); err != nil {
		fmt.Fprintln(os.Stderr, "hyperconverge-webhook:", err)
		os.Exit(1)
	}
}
