package command

import (
	"encoding/json"
	"fmt"
	"io"
	"slices"
	"strings"
	"text/tabwriter"
	"unicode"

	"github.com/spf13/cobra"
	"sigs.k8s.io/yaml"

	"github.com/hyperconverge/scheduler/internal/console"
)

// Formats of -o.
const (
	formatTable = "table"
	formatWide  = "wide"
	formatJSON  = "json"
	formatYAML  = "yaml"
)

// addOutput gives a command the flag -o, with formats of its own beside the usual ones.
func (t *tool) addOutput(cmd *cobra.Command, more ...string) {
	formats := append([]string{formatTable, formatWide, formatJSON, formatYAML}, more...)
	cmd.Flags().StringVarP(&t.output, "output", "o", formatTable, "output format: "+strings.Join(formats, ", "))
	_ = cmd.RegisterFlagCompletionFunc("output", cobra.FixedCompletions(formats, cobra.ShellCompDirectiveNoFileComp)) // the flag is there
	run := cmd.RunE
	cmd.RunE = func(cmd *cobra.Command, args []string) error {
		if !slices.Contains(formats, t.output) {
			return fmt.Errorf("-o %s: want one of %s", t.output, strings.Join(formats, ", "))
		}
		return run(cmd, args)
	}
}

// print writes a document, or has it drawn as a table. What is unknown is said beside a
// table, and stands in the document otherwise.
func (t *tool) print(document any, unknown []string, draw func(w io.Writer, wide bool) error) error {
	switch t.output {
	case formatJSON:
		encoder := json.NewEncoder(t.Out)
		encoder.SetIndent("", "  ")
		return encoder.Encode(document)
	case formatYAML:
		text, err := yaml.Marshal(document)
		if err != nil {
			return err
		}
		_, err = t.Out.Write(text)
		return err
	}
	if err := draw(t.Out, t.output == formatWide); err != nil {
		return err
	}
	t.tell(unknown)
	return nil
}

// clean makes one line of a text that anybody in the cluster may have written, without
// what a terminal obeys: control characters, and those that turn the direction of text.
func clean(text string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\n' || r == '\t':
			return ' '
		case unicode.IsControl(r) || unicode.Is(unicode.Cf, r) || unicode.Is(unicode.Zl, r) || unicode.Is(unicode.Zp, r):
			return '\uFFFD'
		}
		return r
	}, text)
}

// table writes lines in columns.
type table struct {
	columns *tabwriter.Writer
	failed  error
}

func newTable(w io.Writer) *table {
	return &table{columns: tabwriter.NewWriter(w, 0, 0, 3, ' ', tabwriter.TabIndent)}
}

func (b *table) row(cells ...string) {
	for i := range cells {
		if cells[i] = clean(cells[i]); cells[i] == "" {
			cells[i] = "-"
		}
	}
	if _, err := fmt.Fprintln(b.columns, strings.Join(cells, "\t")); err != nil {
		b.failed = err
	}
}

func (b *table) end() error {
	if b.failed != nil {
		return b.failed
	}
	return b.columns.Flush()
}

// progress is one line on a terminal, and nothing elsewhere.
type progress struct {
	w       io.Writer
	visible bool
}

func newProgress(w io.Writer) *progress { return &progress{w: w, visible: console.IsTerminal(w)} }

func (p *progress) say(text string) {
	if p.visible {
		_, _ = fmt.Fprintf(p.w, "\r\x1b[K%s ...", text)
	}
}

func (p *progress) clear() {
	if p.visible {
		_, _ = fmt.Fprint(p.w, "\r\x1b[K")
	}
}
