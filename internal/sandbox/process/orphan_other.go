//go:build unix && !linux

package process

import "syscall"

// dieWithParent does nothing where the kernel knows no parent-death signal: on
// such systems children survive a SIGKILL of this process.
func dieWithParent(*syscall.SysProcAttr) {}
