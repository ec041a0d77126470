package openstorage

import (
	"testing"
	"time"
)

func TestWatchIsOpenedAgain(t *testing.T) {
	const backoff, resync = 30 * time.Second, 15 * time.Minute
	const short, long = backoff, provenAfter * backoff
	type attempt struct {
		end   watchEnd
		pause time.Duration // from the attempt to the next; up to a fifth more
		told  bool
	}
	cut := func(lasted time.Duration) watchEnd {
		return watchEnd{kind: unreachable, opened: true, lasted: lasted}
	}
	unopened := watchEnd{kind: unreachable}
	inOutage := watchEnd{kind: unreachable, outage: true}
	tests := []struct {
		name     string
		attempts []attempt
	}{
		{"a little after a good watch ended, and as soon each time", []attempt{
			{cut(long), long + backoff/10, false}, {cut(long), long + backoff/10, false}, {cut(long), long + backoff/10, false}}},
		{"ever later when it is cut after every initial list, which is told", []attempt{
			{cut(short), backoff, false}, {cut(short), 2 * backoff, true}, {cut(short), 4 * backoff, true},
			{cut(short), 8 * backoff, true}, {cut(short), 8 * backoff, true}}},
		{"soon again after one that was good", []attempt{
			{cut(short), backoff, false}, {cut(short), 2 * backoff, true}, {cut(long), long + backoff/10, false}, {cut(short), backoff, false}}},
		{"after the backoff when the server restarts, and nothing is told", []attempt{
			{cut(long), long + backoff/10, false}, {unopened, backoff, false}, {inOutage, backoff, false}, {inOutage, backoff, false}}},
		{"ever later when only the watch is not there, which is told", []attempt{
			{unopened, backoff, false}, {unopened, 2 * backoff, true}, {unopened, 4 * backoff, true}}},
		{"at the next resync when the server has none, which is told at once", []attempt{
			{watchEnd{kind: unsupported}, resync, true}}},
		{"later when it is refused, which is told at once", []attempt{
			{watchEnd{kind: refused}, backoff, true}, {watchEnd{kind: refused}, 2 * backoff, true}}},
		{"after the backoff when it is to show more than before", []attempt{
			{watchEnd{kind: refused}, backoff, true}, {watchEnd{kind: refused}, 2 * backoff, true},
			{watchEnd{reopen: true}, backoff, false}, {cut(short), backoff, false}}},
		{"at once when one that is as old as that is to show more", []attempt{
			{watchEnd{reopen: true, opened: true, lasted: long}, long, false}}},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			h := watchHistory{backoff: backoff, resync: resync}
			for i, a := range test.attempts {
				pause, told := h.note(a.end)
				if !about(pause, a.pause) || told != a.told {
					t.Errorf("after attempt %d the next is after %v, told %v; want %v, %v", i+1, pause, told, a.pause, a.told)
				}
			}
		})
	}
}
