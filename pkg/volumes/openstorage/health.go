package openstorage

import (
	"fmt"
	"slices"
	"sync"
	"time"

	"google.golang.org/grpc/status"
)

// health is how the storage API does as a whole: which conditions last, whether the
// token is good, and whether calls are held back. It learns from the outcomes of
// calls, and knows nobody who makes them: what follows is up to the callbacks, which
// are called with no lock held and return at once.
type health struct {
	*conditions
	breaker *breaker

	config *Config
	// rests is how long storage must send no invalid text until that is taken to be
	// over.
	rests time.Duration
	// patience is how long after an answer single calls may find nobody until that is
	// taken for an outage.
	patience time.Duration
	// connected reports whether there is a connection.
	connected func() bool
	// recovered is called when storage answers that did not.
	recovered func()
	// rightsGained is called when a condition is over that a token without rights may
	// have made.
	rightsGained func()

	mu sync.Mutex
	// nodesRefused and volumesRefused are true while the token is refused for the list
	// of nodes, and of volumes.
	nodesRefused, volumesRefused bool
	// answered is when storage last answered any call, and listed when it last listed its
	// nodes; zero if never.
	answered, listed time.Time
	// invalidText is when storage last sent text that is not UTF-8; zero if never.
	invalidText time.Time
}

func newHealth(config *Config) *health {
	return &health{
		conditions: newConditions(), breaker: newBreaker(),
		config: config, rests: config.ResyncInterval,
		patience:  2 * config.NodePollInterval,
		connected: func() bool { return true }, recovered: func() {}, rightsGained: func() {},
	}
}

// observe sorts the outcome of a call, and trips the breaker while storage as a whole
// is not there. That a single call fails or takes too long may be the fault of the
// volume that it asks for, whatever code it fails with: servers pass on that the
// coordinator of a volume is unavailable.
func (h *health) observe(err error) kind {
	k := kindOf(err)
	switch {
	case k == answered, k == absent:
		h.noteAnswer()
		if h.breaker.reset() {
			h.recovered()
		}
	case k == unsent, k == unreachable && h.silent(), h.tokenRefused(), h.has(ReasonUnreachable):
		h.breaker.trip()
	}
	return k
}

func (h *health) noteAnswer() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.answered = time.Now()
}

// silent reports whether nobody is there who could answer. The node poll is answered
// within patience by a server that does well.
func (h *health) silent() bool {
	h.mu.Lock()
	at := h.answered
	h.mu.Unlock()
	return time.Since(at) > h.patience || !h.connected()
}

// tokenRefused reports whether the token is refused for the list of nodes, which
// tells of no single object.
func (h *health) tokenRefused() bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.nodesRefused
}

// observeNodes takes the outcome of the node poll, the one call that tells how
// storage does as a whole.
func (h *health) observeNodes(k kind, err error) {
	if k != answered && k != refused && k != unsent { // observeTokenFile tells of what was not sent
		h.set(ReasonUnreachable, h.silence(err), advise(h.config, err))
		return
	}
	if k == answered {
		h.mu.Lock()
		h.listed = time.Now()
		h.mu.Unlock()
	}
	if h.clear(ReasonUnreachable) {
		h.recovered()
	}
	h.observeToken(&h.nodesRefused, k, err)
}

// silence says that storage does not list its nodes, and whether it ever did: what was
// never reached is looked for in the configuration, what was lost in the storage system.
func (h *health) silence(err error) string {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.listed.IsZero() {
		return fmt.Sprintf("Not reached yet: %s has listed no nodes since the scheduler started: %s. Until it does, no replica is known.",
			h.config.Endpoint, status.Convert(err).Message())
	}
	return fmt.Sprintf("Lost: %s has listed its nodes at %s for the last time: %s. What was known then is used for now.",
		h.config.Endpoint, h.listed.UTC().Format(time.RFC3339), status.Convert(err).Message())
}

// observeVolumes takes the outcome of the list of volumes.
func (h *health) observeVolumes(k kind, err error) { h.observeToken(&h.volumesRefused, k, err) }

// observeToken takes the outcome of one of the two calls that tell whether the token
// is good, and keeps it in one of the two fields.
func (h *health) observeToken(field *bool, k kind, err error) {
	if k != answered && k != refused {
		return
	}
	if h.noteToken(field, k, err) {
		h.rightsGained()
	}
}

// noteToken reports whether the token has become good. The condition changes under
// the same lock as the fields that it is made of.
func (h *health) noteToken(field *bool, k kind, err error) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	*field = k == refused
	if *field {
		h.set(ReasonTokenRefused, h.refusal(err), advise(h.config, err))
	}
	return !h.nodesRefused && !h.volumesRefused && h.clear(ReasonTokenRefused)
}

func (h *health) refusal(err error) string {
	with := "without a token"
	if h.config.TokenFile != "" {
		with = "with the token in " + h.config.TokenFile
	}
	return fmt.Sprintf("%s refuses the scheduler %s: %s.", h.config.Endpoint, with, status.Convert(err).Message())
}

// observeNodeCount takes the length of the node list. An empty one is not believed.
func (h *health) observeNodeCount(n int) {
	if n == 0 {
		h.set(ReasonNoNodes, h.config.Endpoint+" answers with an empty node list. It is not believed.", adviceRights)
		return
	}
	if h.clear(ReasonNoNodes) {
		h.rightsGained()
	}
}

// observeTokenFile takes the outcome of reading the token; nil for success.
func (h *health) observeTokenFile(err error) {
	if err == nil {
		h.clear(ReasonTokenUnreadable)
		return
	}
	h.set(ReasonTokenUnreadable, err.Error()+". The token read last is used, if there is one.", adviceTokenFile)
}

// observeInvalidText takes one text that storage sent and that is not UTF-8, as it
// is taken, and the field that has it.
func (h *health) observeInvalidText(field, text string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.invalidText = time.Now()
	h.set(ReasonInvalidText, fmt.Sprintf("%s sends text that is not UTF-8, in %s: %.64q. "+
		"It is taken as it stands here, and matches nothing else.", h.config.Endpoint, field, text), adviceText)
}

// expire ends the condition of invalid text when every volume and node has been sent
// without.
func (h *health) expire() {
	h.mu.Lock()
	defer h.mu.Unlock()
	if !h.invalidText.IsZero() && time.Since(h.invalidText) > h.rests {
		h.clear(ReasonInvalidText)
	}
}

// accessReasons are the conditions that an access check finds.
var accessReasons = []string{ReasonTokenBlind, ReasonForeignCluster, ReasonShowsTooFew}

// accessMissing reports whether the token may not show all: rights may be given
// without a new token, so that another check is worth while.
func (h *health) accessMissing() bool {
	h.mu.Lock()
	refused := h.volumesRefused
	h.mu.Unlock()
	return refused || slices.ContainsFunc(accessReasons, h.has)
}

// observeAccess takes the result of an access check.
func (h *health) observeAccess(c *accessCheck) {
	found := c.condition(h.config.Endpoint)
	if found.Reason != "" {
		h.set(found.Reason, found.Message, found.Advice)
	}
	for _, other := range accessReasons {
		if other != found.Reason && h.clear(other) {
			h.rightsGained()
		}
	}
}

const (
	// With visibleFew volumes or more, it is a condition when less than visiblePercent
	// of them are shown. Of a few, some may be PVs that were left behind.
	visibleFew     = 50
	visiblePercent = 90
)

// accessCheck compares the volumes of Kubernetes with those that storage shows.
type accessCheck struct {
	followed  int // that Kubernetes has
	checkable int // whose id is known, among these
	visible   int // that storage shows, among these
	shown     int // that storage shows at all
}

// condition returns what is wrong; without a reason if nothing is.
func (c *accessCheck) condition(endpoint string) Condition {
	switch {
	case c.checkable == 0:
		return Condition{}
	case c.shown == 0:
		return Condition{ReasonTokenBlind, fmt.Sprintf("%s shows no volume at all, but Kubernetes has %d PersistentVolumes of it. "+
			"The last known replicas are used.", endpoint, c.followed), adviceRights}
	case c.visible == 0:
		return Condition{ReasonForeignCluster, fmt.Sprintf("%s shows %d volumes, but none of the %d PersistentVolumes that Kubernetes has of it. "+
			"The last known replicas are used.", endpoint, c.shown, c.followed), adviceForeign}
	case c.checkable >= visibleFew && 100*c.visible < visiblePercent*c.checkable:
		return Condition{ReasonShowsTooFew, fmt.Sprintf("%s shows only %d of %d PersistentVolumes that Kubernetes has of it. "+
			"The last known replicas of the others are used.", endpoint, c.visible, c.checkable), adviceTooFew}
	default:
		return Condition{}
	}
}
