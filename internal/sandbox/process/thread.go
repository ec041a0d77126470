package process

import "runtime"

// startFromOneThread runs what it is sent on one operating system thread that
// lives as long as the channel is open.
//
// The kernel ties a child's parent-death signal to the thread that forked it,
// not to the process. Go ends idle threads when it likes, and children forked
// from them would die for no reason that anybody could see.
func startFromOneThread(starts <-chan func()) {
	// Never unlocked: the thread ends with this goroutine, which is after the
	// last child.
	runtime.LockOSThread()
	for start := range starts {
		start()
	}
}
