// Package console prints for people at a terminal and for logs alike.
package console

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"

	"golang.org/x/term"
)

// quiet is how long a log may stay silent during a long step before the status
// is written to it.
const quiet = 3 * time.Second

// Console writes lines that stay, and below them, on a terminal, one status line
// that is overwritten. It may be used from several goroutines.
type Console struct {
	out      io.Writer
	terminal bool
	columns  func() int // of the terminal; 0 if that is not known
	lost     func()
	now      func() time.Time

	mu     sync.Mutex
	status string    // what the status line shows now; empty for none
	last   time.Time // when something was written last
}

// New prints to the file, with the palette of PaletteOf. The status line is used only
// if it is a terminal. lost is called when nobody reads any more, as at the end of a
// pipe to head; SIGPIPE must be ignored.
func New(out *os.File, lost func()) (*Console, Palette) {
	c := newConsole(out, IsTerminal(out), lost, time.Now)
	c.columns = func() int {
		columns, _, err := term.GetSize(int(out.Fd()))
		if err != nil {
			return 0
		}
		return columns
	}
	return c, PaletteOf(out)
}

func newConsole(out io.Writer, terminal bool, lost func(), now func() time.Time) *Console {
	return &Console{out: out, terminal: terminal, columns: func() int { return 0 }, lost: lost, now: now, last: now()}
}

// Printf writes lines that stay.
func (c *Console) Printf(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clear()
	text := fmt.Sprintf(format, args...)
	if !strings.HasSuffix(text, "\n") {
		text += "\n"
	}
	c.write(text)
}

// Width is how many columns the terminal has; 0 if it is none, where lines may have any
// length.
func (c *Console) Width() int {
	if !c.terminal {
		return 0
	}
	return c.columns()
}

// fit cuts a status line to the terminal's width: of one that wraps, only the last part
// would be overwritten.
func (c *Console) fit(text string) string {
	letters := []rune(text)
	if columns := c.Width(); columns > 1 && len(letters) >= columns {
		return string(letters[:columns-2]) + "…"
	}
	return text
}

// Status says what is being waited for. A terminal shows it until the next call
// of any method. A log gets it only when it has been silent for a while.
func (c *Console) Status(format string, args ...any) {
	c.mu.Lock()
	defer c.mu.Unlock()
	text := fmt.Sprintf(format, args...)
	switch {
	case text == c.status:
	case c.terminal:
		c.clear()
		c.write(c.fit("  ... " + text))
		c.status = text
	case c.now().Sub(c.last) >= quiet:
		c.write("  ... " + text + "\n")
		c.status = text
	}
}

// Done removes the status line, before somebody else writes to the terminal.
func (c *Console) Done() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.clear()
}

// clear removes the status line.
func (c *Console) clear() {
	if c.status != "" && c.terminal {
		c.write("\r\x1b[K")
	}
	c.status = ""
}

func (c *Console) write(text string) {
	if _, err := io.WriteString(c.out, text); err != nil {
		c.lost()
	}
	c.last = c.now()
}

// IsTerminal reports whether a writer is a terminal that can overwrite a line.
func IsTerminal(w io.Writer) bool {
	file, is := w.(*os.File)
	return is && term.IsTerminal(int(file.Fd())) && os.Getenv("TERM") != "dumb"
}

// PaletteOf is Colours for a terminal, unless NO_COLOR is set, and Plain for all else.
func PaletteOf(w io.Writer) Palette {
	if IsTerminal(w) && os.Getenv("NO_COLOR") == "" {
		return Colours
	}
	return Plain
}

// Palette paints text. It changes no widths as people see them.
type Palette struct {
	Good, Bad, Faint, Strong func(string) string
}

var (
	// Plain leaves text as it is.
	Plain = Palette{Good: same, Bad: same, Faint: same, Strong: same}
	// Colours uses the colours that every terminal has.
	Colours = Palette{Good: paint("32"), Bad: paint("31"), Faint: paint("2"), Strong: paint("1")}
)

func same(text string) string { return text }

func paint(code string) func(string) string {
	return func(text string) string { return "\x1b[" + code + "m" + text + "\x1b[0m" }
}
