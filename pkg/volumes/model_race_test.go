//go:build race

package volumes

// Under the race detector, as in CI, the model-based test takes its time.
const modelOperationsByDefault = 1_000_000
