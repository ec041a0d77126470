// Package rebalance decides which pods that run off their data go home, and when. It is
// docs/back-home.md as pure functions: no informer, no client, no clock. Where a successor
// would land is asked of a World, and what has been done before stands in a Journal, which
// its owner keeps in the API.
package rebalance
