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

func TestAStatusLineIsCutWhereTheTerminalEnds(t *testing.T) {
	for name, row := range map[string]struct {
		columns int
		status  string
		want    string
	}{
		"one that is shorter stays":           {20, "naïve waiting", "  ... naïve waiting"},
		"one that would reach the end is cut": {19, "naïve waiting", "  ... naïve waiti…"},
		"one that is longer is cut":           {10, "naïve waiting", "  ... na…"},
		"a terminal of unknown width":         {0, "naïve waiting", "  ... naïve waiting"},
	} {
		t.Run(name, func(t *testing.T) {
			var out strings.Builder
			c := newConsole(&out, true, nil, time.Now)
			c.columns = func() int { return row.columns }
			c.Status("%s", row.status)
			if got := out.String(); got != row.want {
				t.Errorf("printed %q, want %q", got, row.want)
			}
		})
	}
}

func TestOnlyATerminalHasAWidth(t *testing.T) {
	for terminal, want := range map[bool]int{true: 80, false: 0} {
		c := newConsole(io.Discard, terminal, nil, time.Now)
		c.columns = func() int { return 80 }
		if got := c.Width(); got != want {
			t.Errorf("terminal %v: width %d, want %d", terminal, got, want)
		}
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
