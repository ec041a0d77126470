package console

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
