//go:build !unix

package openstorage

import "os"

// notifyDump does nothing where there is no SIGUSR2: no scheduler runs on such systems,
// but kubectl hyperconverge does.
func notifyDump(chan<- os.Signal) {}
