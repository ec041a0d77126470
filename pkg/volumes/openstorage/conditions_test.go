package openstorage

import (
	"strings"
	"testing"
	"time"

	"k8s.io/klog/v2/textlogger"
)

// TestConditionIsRepeatedWhileItLasts: whoever looks at the end of a log finds it.
func TestConditionIsRepeatedWhileItLasts(t *testing.T) {
	var log strings.Builder
	now := time.Unix(0, 0)
	c := newConditions()
	c.now = func() time.Time { return now }
	c.logTo(textlogger.NewLogger(textlogger.NewConfig(textlogger.Output(&log))))

	for range 121 { // 20 minutes, one poll in 10 seconds
		c.set(ReasonUnreachable, "no answer", "look")
		now = now.Add(10 * time.Second)
	}
	if raised, lasts := strings.Count(log.String(), "condition raised"), strings.Count(log.String(), "condition lasts"); raised != 1 || lasts != 2 {
		t.Errorf("raised %d times, repeated %d times, want 1 and 2:\n%s", raised, lasts, log.String())
	}
}
