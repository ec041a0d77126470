package main

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"aead.dev/minisign"
	"golang.org/x/crypto/blake2b"
	"golang.org/x/crypto/scrypt"
)

// newKey returns a public key and the text of its secret one, encrypted if there is a
// password.
func newKey(t *testing.T, password string) (minisign.PublicKey, string) {
	t.Helper()
	public, secret, err := minisign.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	text, err := secret.MarshalText()
	if err != nil {
		t.Fatal(err)
	}
	if password == "" {
		return public, string(text)
	}
	// minisign's own function takes a gigabyte of memory. This is its format, with the
	// smallest parameters: algorithm, that of the encryption, that of the checksum, salt,
	// limits of operations and memory, and key, the last encrypted.
	comment, encoded, _ := strings.Cut(string(text), "\n")
	content, err := base64.StdEncoding.DecodeString(strings.TrimSpace(encoded))
	if err != nil {
		t.Fatal(err)
	}
	copy(content[2:], "Sc")
	binary.LittleEndian.PutUint64(content[38:], 1<<15)
	binary.LittleEndian.PutUint64(content[46:], 1<<24)
	encrypt(t, content, password)
	return public, comment + "\n" + base64.StdEncoding.EncodeToString(content) + "\n"
}

func TestChecksumsAreSigned(t *testing.T) {
	for name, row := range map[string]struct {
		password string
		asFile   bool
	}{
		"a key":              {"", false},
		"a key with a word":  {"word", false},
		"the path of one":    {"", true},
		"that, with a word":  {"word", true},
		"a word of any kind": {"zwölf Boxkämpfer", false},
	} {
		t.Run(name, func(t *testing.T) {
			r := example(t)
			if err := r.write("a", []byte("first")); err != nil {
				t.Fatal(err)
			}
			if err := r.write("b", []byte("second")); err != nil {
				t.Fatal(err)
			}
			if err := os.Mkdir(filepath.Join(r.dist, "kubernetes1.36"), 0o700); err != nil {
				t.Fatal(err)
			}
			if err := r.write("kubernetes1.36/a", []byte("another release")); err != nil {
				t.Fatal(err)
			}
			public, secret := newKey(t, row.password)
			r.key, r.password = secret, row.password
			if row.asFile {
				r.key = filepath.Join(t.TempDir(), "minisign.key")
				if err := os.WriteFile(r.key, []byte(secret), 0o600); err != nil {
					t.Fatal(err)
				}
			}
			var files [2][]byte
			for i := range files { // the second time there are checksums and signature already
				said, err := r.sign()
				if err != nil || said != "Signed: minisign -Vm checksums.txt -P "+public.String() {
					t.Fatalf("it says %q, %v", said, err)
				}
				files[i] = read(t, r.dist, signature)
			}
			if !bytes.Equal(files[0], files[1]) {
				t.Error("a second signature differs")
			}
			list := read(t, r.dist, checksums)
			want := "a7937b64b8caa58f03721bb6bacf5c78cb235febe0e70b1b84cd99541461a08e  a\n" +
				"16367aacb67a4a017c8da8ab95682ccb390863780f7114dda0a0e0c55644c7c4  b\n"
			if string(list) != want {
				t.Errorf("the checksums are\n%swant\n%s", list, want)
			}
			if !verified(t, public, list, files[0]) {
				t.Error("the signature is none")
			}
			if verified(t, public, append(list, '\n'), files[0]) {
				t.Error("the signature is one of anything")
			}
			if !strings.Contains(string(files[0]), "trusted comment: timestamp:1700000000\tfile:checksums.txt\tversion:v7.8.9\thashed\n") {
				t.Errorf("the signature does not say of what:\n%s", files[0])
			}
		})
	}
}

// verified checks a signature as minisign does.
func verified(t *testing.T, public minisign.PublicKey, content, signature []byte) bool {
	t.Helper()
	reader := minisign.NewReader(bytes.NewReader(content))
	if _, err := io.Copy(io.Discard, reader); err != nil {
		t.Fatal(err)
	}
	return reader.Verify(public, signature)
}

func TestReleaseWithoutKeyIsUnsigned(t *testing.T) {
	r := example(t)
	if err := r.write(signature, []byte("of a former release")); err != nil {
		t.Fatal(err)
	}
	said, err := r.sign()
	if err != nil || !strings.HasPrefix(said, "Unsigned: MINISIGN_KEY") {
		t.Errorf("it says %q, %v", said, err)
	}
	if _, err := os.Stat(filepath.Join(r.dist, signature)); !os.IsNotExist(err) {
		t.Errorf("there is a signature: %v", err)
	}
}

// A key that is no good must not end in a release without a signature.
func TestKeyThatIsNoneStopsTheRelease(t *testing.T) {
	_, encrypted := newKey(t, "word")
	for name, row := range map[string]struct{ key, password, want string }{
		"another word":    {encrypted, "other", "decryption failed"},
		"no word":         {encrypted, "", "decryption failed"},
		"no such file":    {"/no/such/file", "", "nor the path of a file"},
		"something else":  {"untrusted comment: a\nAAAA\n", "", "invalid private key"},
		"a secret itself": {strings.Split(encrypted, "\n")[1], "word", "nor the path of a file"},
	} {
		t.Run(name, func(t *testing.T) {
			r := example(t)
			r.key, r.password = row.key, row.password
			said, err := r.sign()
			if err == nil || !strings.HasPrefix(err.Error(), "MINISIGN_KEY: ") || !strings.Contains(err.Error(), row.want) || said != "" {
				t.Errorf("it says %q, %v", said, err)
			}
			if strings.Contains(fmt.Sprint(err), row.key) {
				t.Error("the error has the key in it")
			}
		})
	}
}

// encrypt mixes the key, with its checksum, with a stream that the password makes.
func encrypt(t *testing.T, content []byte, password string) {
	t.Helper()
	salt, key := content[6:38], content[54:]
	hash := blake2b.Sum256(append([]byte("Ed"), key[:72]...))
	copy(key[72:], hash[:])
	stream, err := scrypt.Key([]byte(password), salt, 1<<10, 8, 1, len(key))
	if err != nil {
		t.Fatal(err)
	}
	for i := range key {
		key[i] ^= stream[i]
	}
}
