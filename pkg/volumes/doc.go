// Package volumes keeps, in memory, what the scheduler must know about the
// volumes of the storage driver: which storage nodes hold their replicas, which
// Kubernetes nodes those are, how storage stands there, and how old that
// knowledge is.
//
// Two feeds fill the Index. Kubernetes informers say which volumes exist for us
// (PersistentVolumes), what the nodes are called and where they stand (Nodes),
// and which storage node runs on which of them (CSINodes). A storage source,
// package openstorage, says where the replicas are. Kubernetes decides what is
// followed, storage only describes it: an answer in which a volume is missing
// makes the volume suspect, never forgotten.
//
// Readers never wait for either feed. The picture of the nodes is an immutable
// View behind an atomic pointer, and a volume is found by one map probe under a
// read lock; neither allocates.
//
// Rule numbers in comments are those of docs/behaviour.md.
package volumes
