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

// TestConditionIsToldAgainWhenAnotherThingIsToBeDone: whoever has followed the first advice
// need not wait for the second.
func TestConditionIsToldAgainWhenAnotherThingIsToBeDone(t *testing.T) {
	var log strings.Builder
	now := time.Unix(0, 0)
	c := newConditions()
	c.now = func() time.Time { return now }
	c.logTo(textlogger.NewLogger(textlogger.NewConfig(textlogger.Output(&log))))

	for i := range 30 { // 5 minutes, in which two causes alternate
		c.set(ReasonUnreachable, "no answer", []string{"look here", "look there"}[i%2])
		now = now.Add(10 * time.Second)
	}
	if here, there := strings.Count(log.String(), "look here"), strings.Count(log.String(), "look there"); here+there != 5 || here == 0 || there == 0 {
		t.Errorf("one advice is told %d times, the other %d times, want them about once in a minute:\n%s", here, there, log.String())
	}
}
