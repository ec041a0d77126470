// Package claims finds the way from a pod to its volumes: pod → PVC → PV → volume
// handle, and whose driver they are. It knows nothing of replicas; the scheduler's
// plugin and the admission webhook both ask it, so that what the one counts as a
// volume of the driver, the other counts, too (docs/behaviour.md, section 3).
package claims
