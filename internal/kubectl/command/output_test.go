package command

import (
	"bytes"
	"strings"
	"testing"
)

func TestWhatOthersWroteIsNotObeyed(t *testing.T) {
	for _, tc := range []struct{ name, text, want string }{
		{"an escape sequence", "a\x1b]0;title\a\x1b[2Jb", "a\uFFFD]0;title\uFFFD\uFFFD[2Jb"},
		{"a new line", "a\nb", "a b"},
		{"a sequence in one character", "a\u009b31mb", "a\uFFFD31mb"},
		{"text from right to left", "a\u202eb", "a\uFFFDb"},
		{"letters of all languages", "größer 数据", "größer 数据"},
	} {
		t.Run(tc.name, func(t *testing.T) {
			if got := clean(tc.text); got != tc.want {
				t.Errorf("got %q, want %q", got, tc.want)
			}
			var out bytes.Buffer
			b := newTable(&out)
			b.row("x", tc.text, "y")
			if err := b.end(); err != nil || strings.Count(out.String(), "\n") != 1 || strings.ContainsRune(out.String(), 0x1b) {
				t.Errorf("the row is %q, %v", out.String(), err)
			}
		})
	}
}
