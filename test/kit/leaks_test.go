package kit

import (
	"encoding/base64"
	"encoding/hex"
	"strconv"
	"strings"
	"testing"
)

func TestLeaksAreFoundInEveryForm(t *testing.T) {
	const secret = "-----BEGIN KEY-----\nMIIEpAIBAAKCAQEA1x\n-----END KEY-----\n"
	body := "k8s\x00" + secret
	for form, log := range map[string]string{
		"plain":                    body,
		"JSON":                     strconv.Quote(body),
		"base64":                   base64.StdEncoding.EncodeToString([]byte(secret)) + "AAAA",
		"a hexadecimal dump":       hex.Dump([]byte(body)),
		"a hexadecimal dump, JSON": strings.ReplaceAll(hex.Dump([]byte(body)), "\n", `\n`),
	} {
		if got := Leaks("before "+log, map[string]string{"the key": secret, "another": "this one is not there"}); len(got) != 1 || got[0] != "the key" {
			t.Errorf("%s: found %q in %s", form, got, log)
		}
	}
}
