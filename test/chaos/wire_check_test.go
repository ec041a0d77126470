package chaos

import (
	"bytes"
	"testing"
)

func TestWire(t *testing.T) {
	for name, row := range map[string]struct{ got, want []byte }{
		"a text has a tag, a length and its bytes":        {text(1, "id"), []byte{0x0a, 2, 'i', 'd'}},
		"a number is a varint":                            {number(7, 300), []byte{0x38, 0xac, 2}},
		"a high field number takes two bytes":             {number(volumeTrashcan, 1), []byte{0x80, 2, 1}},
		"an answer nests the volume":                      {inspected(text(volumeID, "1")), []byte{0x0a, 3, 0x0a, 1, '1'}},
		"an event nests it once more":                     {event(text(volumeID, "1")), []byte{0x0a, 5, 0x0a, 3, 0x0a, 1, '1'}},
		"the id of a request is read back":                {[]byte(requested(text(1, "5"))), []byte("5")},
		"a request that is cut off has none":              {[]byte(requested([]byte{0x0a, 9, '5'})), []byte("")},
		"a request whose first field is another has none": {[]byte(requested(number(1, 5))), []byte("")},
	} {
		t.Run(name, func(t *testing.T) {
			if !bytes.Equal(row.got, row.want) {
				t.Errorf("got % x, want % x", row.got, row.want)
			}
		})
	}
}
