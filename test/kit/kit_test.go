package kit

import (
	"errors"
	"net"
	"strings"
	"testing"
	"time"
)

func TestWaitEndsWithTheConditionOrItsLastError(t *testing.T) {
	looked := 0
	if err := Wait(t.Context(), time.Minute, "the third look", func() error {
		if looked++; looked < 3 {
			return errors.New("not yet")
		}
		return nil
	}); err != nil || looked != 3 {
		t.Errorf("after %d looks: %v", looked, err)
	}
	missing := errors.New("it is not there")
	err := Wait(t.Context(), time.Millisecond, "something", func() error { return missing })
	if !errors.Is(err, missing) || !strings.Contains(err.Error(), "something") {
		t.Errorf("the error is %v", err)
	}
}

func TestFreeAddressCanBeListenedOn(t *testing.T) {
	listener, err := net.Listen("tcp", FreeAddress(t))
	if err != nil {
		t.Fatal(err)
	}
	Close(t, listener)
}
