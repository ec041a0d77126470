package openstoragesim

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"slices"
	"strings"
	"time"

	"google.golang.org/genproto/googleapis/rpc/code"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Faults are what is wrong with a server at the moment. The zero value is a
// healthy server. They are set as a whole with Server.SetFaults.
type Faults struct {
	// Calls go wrong by method: "Volume.Inspect" (see MethodName), all methods
	// of a service "Volume.*", or all "*". The most specific one counts, alone.
	// For Watch.Watch it is the opening of the stream that goes wrong.
	Calls map[string]CallFault `json:"calls,omitempty"`
	// HideVolumes is the share of volumes, 0 to 1, that are missing from every
	// list and from the dump of a watch, always the same ones. Inspect still
	// finds them.
	HideVolumes float64 `json:"hideVolumes,omitempty"`
	// HideNodes is the share of nodes that are missing from every list.
	HideNodes float64 `json:"hideNodes,omitempty"`
	// LoseVolumes is the share of volumes, always the same ones, for which
	// Inspect answers NotFound.
	LoseVolumes float64 `json:"loseVolumes,omitempty"`
	// Watch disturbs events on open streams.
	Watch WatchFaults `json:"watch,omitzero"`
}

// CallFault is how a call goes wrong.
type CallFault struct {
	// Latency is waited for before anything else.
	Latency time.Duration
	// Hang holds the call until its context ends or the server stops.
	Hang bool
	// Code, when it is not OK, is the answer: Unavailable is an outage,
	// Unimplemented an older server.
	Code codes.Code
}

// WatchFaults disturb the events of a watch, but not its dump.
type WatchFaults struct {
	// Drop is the share of events, 0 to 1, that are lost.
	Drop float64 `json:"drop,omitempty"`
	// Duplicate is the share of events that are sent twice.
	Duplicate float64 `json:"duplicate,omitempty"`
	// Reorder, when it is 2 or more, holds events back until that many have
	// gathered and sends them newest first. What is held when the fault ends
	// is sent then.
	Reorder int `json:"reorder,omitempty"`
	// HideDeletes keeps deletions from being sent.
	HideDeletes bool `json:"hideDeletes,omitempty"`
	// CutAfter, when it is not zero, ends a stream with Unavailable once it has
	// sent that many messages, dump included.
	CutAfter int `json:"cutAfter,omitempty"`
}

// methods are the calls that a Server answers, as faults and counts name them.
// All others are Unimplemented.
var methods = []string{
	"Node.EnumerateWithFilters",
	"Volume.Create",
	"Volume.Delete",
	"Volume.Inspect",
	"Volume.InspectWithFilters",
	"Volume.Enumerate",
	"Watch.Watch",
}

// MethodName shortens a full gRPC method name:
// "/openstorage.api.OpenStorageVolume/Inspect" is "Volume.Inspect".
func MethodName(full string) string {
	service, method, _ := strings.Cut(strings.TrimPrefix(full, "/"), "/")
	return strings.TrimPrefix(service, "openstorage.api.OpenStorage") + "." + method
}

func knownMethod(pattern string) bool {
	if pattern == "*" || slices.Contains(methods, pattern) {
		return true
	}
	service, isService := strings.CutSuffix(pattern, "*")
	return isService && strings.HasSuffix(service, ".") &&
		slices.ContainsFunc(methods, func(m string) bool { return strings.HasPrefix(m, service) })
}

// Outage is every call answered with Unavailable.
func Outage() Faults {
	return Faults{Calls: map[string]CallFault{"*": {Code: codes.Unavailable}}}
}

// Validate reports what makes no sense in f.
func (f Faults) Validate() error {
	var problems []error
	for name, share := range map[string]float64{
		"hideVolumes":     f.HideVolumes,
		"hideNodes":       f.HideNodes,
		"loseVolumes":     f.LoseVolumes,
		"watch.drop":      f.Watch.Drop,
		"watch.duplicate": f.Watch.Duplicate,
	} {
		if math.IsNaN(share) || share < 0 || share > 1 {
			problems = append(problems, fmt.Errorf("%s is %v, must be from 0 to 1", name, share))
		}
	}
	for name, number := range map[string]int{"watch.reorder": f.Watch.Reorder, "watch.cutAfter": f.Watch.CutAfter} {
		if number < 0 {
			problems = append(problems, fmt.Errorf("%s is %d, must not be negative", name, number))
		}
	}
	for method, fault := range f.Calls {
		if !knownMethod(method) {
			problems = append(problems, fmt.Errorf("calls[%s] is no method; use *, Service.* or one of %s", method, strings.Join(methods, " ")))
		}
		if fault.Latency < 0 {
			problems = append(problems, fmt.Errorf("calls[%s].latency is %v, must not be negative", method, fault.Latency))
		}
	}
	if len(problems) > 0 {
		return fmt.Errorf("faults: %w: %w", ErrInvalid, errors.Join(problems...))
	}
	return nil
}

// call returns the fault of a method; the zero value if it has none.
func (f *Faults) call(method string) CallFault {
	if fault, ok := f.Calls[method]; ok {
		return fault
	}
	service, _, _ := strings.Cut(method, ".")
	if fault, ok := f.Calls[service+".*"]; ok {
		return fault
	}
	return f.Calls["*"]
}

// apply goes wrong as asked. It returns nil if the call may go on.
func (f CallFault) apply(ctx context.Context, stopping <-chan struct{}) error {
	if f.Latency > 0 || f.Hang {
		var over <-chan time.Time // never, for a call that hangs
		if !f.Hang {
			over = time.After(f.Latency)
		}
		select {
		case <-over:
		case <-ctx.Done():
			return status.FromContextError(ctx.Err()).Err()
		case <-stopping:
			return errStopping
		}
	}
	if f.Code != codes.OK {
		return status.Errorf(f.Code, "injected fault: %s", f.Code)
	}
	return nil
}

// chosen picks a share of all ids, always the same ones, and more of them the
// bigger the share.
func chosen(id string, share float64) bool {
	if share <= 0 {
		return false
	}
	h := fnv.New64a()
	h.Write([]byte(id))
	// FNV's high bits are uneven for ids that differ in their ends only.
	mixed := h.Sum64() * 0x9e3779b97f4a7c15
	mixed ^= mixed >> 32
	return float64(mixed&math.MaxUint32)/(1<<32) < share
}

// callFaultJSON is a CallFault as people write it.
type callFaultJSON struct {
	Latency string `json:"latency,omitempty"`
	Hang    bool   `json:"hang,omitempty"`
	Code    string `json:"code,omitempty"`
}

// MarshalJSON writes latency as "250ms" and code as "UNAVAILABLE".
func (f CallFault) MarshalJSON() ([]byte, error) {
	text := callFaultJSON{Hang: f.Hang}
	if f.Latency != 0 {
		text.Latency = f.Latency.String()
	}
	if f.Code != codes.OK {
		text.Code = codeName(f.Code)
	}
	return json.Marshal(text)
}

// UnmarshalJSON reads what MarshalJSON writes.
func (f *CallFault) UnmarshalJSON(data []byte) error {
	var text callFaultJSON
	if err := strictJSON(data, &text); err != nil {
		return err
	}
	latency, err := time.ParseDuration(cmp.Or(text.Latency, "0"))
	if err != nil {
		return fmt.Errorf("latency: %w", err)
	}
	code, err := parseCode(cmp.Or(text.Code, codeName(codes.OK)))
	if err != nil {
		return err
	}
	*f = CallFault{Latency: latency, Hang: text.Hang, Code: code}
	return nil
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

// ParseFaults reads faults as people write them, which is as JSON.
func ParseFaults(text string) (faults Faults, err error) {
	err = strictJSON([]byte(text), &faults)
	return faults, err
}

// strictJSON refuses fields that it does not know, so that a typo is not taken
// for the default.
func strictJSON(data []byte, into any) error {
	decoder := json.NewDecoder(bytes.NewReader(data))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(into); err != nil {
		return err
	}
	if decoder.More() {
		return errors.New("more than one JSON value")
	}
	return nil
}
