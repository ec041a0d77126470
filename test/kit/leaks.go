package kit

import (
	"encoding/base64"
	"regexp"
	"strings"
)

// dumped is the text beside one line of a hexadecimal dump, in which client-go shows
// what it sends as protobuf.
var dumped = regexp.MustCompile(`  \|([^\n]{16})\|`)

// Leaks returns the names of the secrets that stand in what a component has logged:
// as they are, line by line, in base64, or in a hexadecimal dump.
func Leaks(log string, secrets map[string]string) []string {
	var all strings.Builder
	all.WriteString(log)
	for _, match := range dumped.FindAllStringSubmatch(log, -1) {
		all.WriteString(match[1])
	}
	text := all.String()
	var leaked []string
	for name, secret := range secrets {
		forms := []string{strings.TrimRight(base64.StdEncoding.EncodeToString([]byte(secret)), "=")}
		for line := range strings.Lines(secret) {
			if line = strings.TrimSpace(line); len(line) > 10 {
				forms = append(forms, line)
			}
		}
		for _, form := range forms {
			if strings.Contains(text, form) {
				leaked = append(leaked, name)
				break
			}
		}
	}
	return leaked
}
