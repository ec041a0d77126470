//go:build !race

package volumes

const modelOperationsByDefault = 100_000
