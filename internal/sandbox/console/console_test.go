package console

import (
	"io"
	"strings"
	"testing"
	"time"
)

func TestATerminalShowsOneStatusLineThatGivesWay(t *testing.T) {
	var out strings.Builder
	c := newConsole(&out, true, nil, time.Now)
	c.Status("%d of 3 pods run", 1)
	c.Status("%d of 3 pods run", 1) // nothing new
	c.Status("%d of 3 pods run", 2)
	c.Printf("all pods run")

	want := "  ... 1 of 3 pods run" + "\r\x1b[K" + "  ... 2 of 3 pods run" + "\r\x1b[K" + "all pods run\n"
	if got := out.String(); got != want {
		t.Errorf("printed %q, want %q", got, want)
	}
}

func TestALogGetsTheStatusOnlyAfterSilence(t *testing.T) {
	var out strings.Builder
	now := time.Now()
	c := newConsole(&out, false, nil, func() time.Time { return now })
	c.Printf("begin")
	c.Status("1 of 3")
	now = now.Add(quiet)
	c.Status("2 of 3")
	c.Status("3 of 3")
	c.Printf("end\n")

	want := "begin\n  ... 2 of 3\nend\n"
	if got := out.String(); got != want {
		t.Errorf("printed %q, want %q", got, want)
	}
}

func TestAReaderThatIsGoneIsNoticed(t *testing.T) {
	reader, writer := io.Pipe()
	_ = reader.Close()
	lost := 0
	newConsole(writer, false, func() { lost++ }, time.Now).Printf("is anybody there?")
	if lost != 1 {
		t.Errorf("noticed %d times, want once", lost)
	}
}
