package process

import "syscall"

// dieWithParent makes the kernel kill the child when this process ends in a way
// that leaves it no time to do so, such as SIGKILL.
func dieWithParent(attr *syscall.SysProcAttr) {
	attr.Pdeathsig = syscall.SIGKILL
}
