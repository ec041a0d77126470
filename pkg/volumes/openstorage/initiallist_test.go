package openstorage

import (
	"context"
	"strconv"
	"testing"
	"testing/synctest"
	"time"
)

func TestInitialListIsOver(t *testing.T) {
	const idle, never = 2 * time.Second, 1000
	tests := []struct {
		name    string
		volumes int                // that are followed
		id      func(i int) string // of message i
		gap     time.Duration      // between messages
		count   int                // of messages
		want    time.Duration      // from the first message
	}{
		{"when a stream without volumes is silent", 0, nil, 0, 0, idle},
		{"when the stream has fallen silent", 3, strconv.Itoa, time.Millisecond, 3, 2 * idle},
		{"when a volume comes again on a stream that never is silent", never,
			func(i int) string { return strconv.Itoa(i % 4) }, time.Second, never, 4 * time.Second},
		{"after a while when every message is about another volume", 0,
			strconv.Itoa, time.Second, never, maxInitialListIdle * idle},
		{"after a longer while when there are many", 5000,
			strconv.Itoa, time.Second, never, maxInitialListIdle*idle + 5000*initialListPerVolume},
		{"after a while when no message names a volume", 0,
			func(int) string { return "" }, time.Second, never, maxInitialListIdle * idle},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				ctx, cancel := context.WithCancel(t.Context())
				defer cancel()
				l, start := newInitialList(), time.Now()
				go func() {
					for i := range test.count {
						l.note(test.id(i))
						if !sleep(ctx, test.gap) {
							return
						}
					}
				}()
				if !l.wait(ctx, idle, test.volumes) {
					t.Error("the stream has not ended")
				}
				if took := time.Since(start); took != test.want {
					t.Errorf("over after %v, want %v", took, test.want)
				}
			})
		})
	}
}

func TestInitialListThatIsOverRemembersNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		l := newInitialList()
		l.note("1")
		l.wait(t.Context(), time.Second, 0)
		l.note("2")
		if l.seen != nil {
			t.Errorf("%d volumes are remembered", len(l.seen))
		}
	})
}

func TestInitialListOfAStreamThatEndsIsNotOver(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if newInitialList().wait(ctx, time.Hour, 0) {
		t.Error("the stream has ended")
	}
}
