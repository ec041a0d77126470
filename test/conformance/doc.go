// Package conformance runs the same tests of our storage client, and the same
// plain calls, against the simulated storage cluster and against the server code
// of the real OpenStorage SDK, with real tokens. It keeps the simulator honest.
//
// It is a module of its own, because the real server drags several hundred
// modules that the scheduler has no use for. The real server is full of things
// that exist once per process, and makes /var/lib/osd when it is loaded.
package conformance
