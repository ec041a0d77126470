package openstoragesim

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"
	"strings"
	"sync"

	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/grpc/codes"
)

// Methods are the calls that a Server answers, as faults and counts name them.
// All others are Unimplemented.
var Methods = []string{
	"Identity.Version",
	"Cluster.InspectCurrent",
	"Node.Enumerate",
	"Node.EnumerateWithFilters",
	"Node.Inspect",
	"Volume.Create",
	"Volume.Delete",
	"Volume.Inspect",
	"Volume.InspectWithFilters",
	"Volume.Enumerate",
	"Volume.EnumerateWithFilters",
	"Watch.Watch",
}

// MethodName shortens a full gRPC method name:
// "/openstorage.api.OpenStorageVolume/Inspect" is "Volume.Inspect".
func MethodName(full string) string {
	service, method, _ := strings.Cut(strings.TrimPrefix(full, "/"), "/")
	return strings.TrimPrefix(service, "openstorage.api.OpenStorage") + "." + method
}

func knownMethod(pattern string) bool {
	if pattern == "*" || slices.Contains(Methods, pattern) {
		return true
	}
	service, isService := strings.CutSuffix(pattern, "*")
	return isService && strings.HasSuffix(service, ".") &&
		slices.ContainsFunc(Methods, func(m string) bool { return strings.HasPrefix(m, service) })
}

// callCounts counts calls by method, refused ones included.
type callCounts struct {
	mu     sync.Mutex
	counts map[string]int
}

func (c *callCounts) add(method string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.counts == nil {
		c.counts = map[string]int{}
	}
	c.counts[method]++
}

func (c *callCounts) snapshot(reset bool) map[string]int {
	c.mu.Lock()
	defer c.mu.Unlock()
	counts := maps.Clone(c.counts)
	if reset {
		clear(c.counts)
	}
	return counts
}

// codeName writes a gRPC code as the protocol's documentation does.
func codeName(c codes.Code) string { return code.Code(c).String() }

func parseCode(name string) (codes.Code, error) {
	value, ok := code.Code_value[strings.ToUpper(name)]
	if !ok {
		return 0, fmt.Errorf("code %q is not a gRPC code such as UNAVAILABLE", name)
	}
	return codes.Code(value), nil
}

// strictJSON refuses fields that it does not know, so that a typo is not taken
// for the default.
func strictJSON(from io.Reader, into any) error {
	decoder := json.NewDecoder(from)
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return err
	}
	if decoder.More() {
		return errors.New("more than one JSON value")
	}
	return nil
}
