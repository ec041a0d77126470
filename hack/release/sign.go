package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"aead.dev/minisign"

	"github.com/hyperconverge/scheduler/hack/image"
)

const (
	checksums = "checksums.txt"
	signature = checksums + ".minisig"
)

// sign writes the checksums of all files as sha256sum does, and their signature if there
// is a key. It returns who signed them.
func (r release) sign() (string, error) {
	files, err := image.Folder(r.dist)
	if err != nil {
		return "", err
	}
	var list bytes.Buffer
	for _, f := range files {
		// Folders have the releases of other minors, with checksums of their own.
		if f.Path != checksums && f.Path != signature && !strings.Contains(f.Path, "/") {
			fmt.Fprintf(&list, "%s  %s\n", sum(f.Content), f.Path)
		}
	}
	if r.key == "" {
		// One of other checksums must not stand beside these.
		if err := os.RemoveAll(filepath.Join(r.dist, signature)); err != nil {
			return "", err
		}
		return "Unsigned: MINISIGN_KEY, a secret key of minisign or the path of one, is not set.", r.write(checksums, list.Bytes())
	}
	key, err := secretKey(r.key, r.password)
	if err != nil {
		return "", fmt.Errorf("MINISIGN_KEY: %w", err)
	}
	if err := r.write(checksums, list.Bytes()); err != nil {
		return "", err
	}
	public, isPublic := key.Public().(minisign.PublicKey)
	reader := minisign.NewReader(bytes.NewReader(list.Bytes()))
	if _, err := io.Copy(io.Discard, reader); err != nil || !isPublic {
		return "", errors.Join(err, errors.New("the checksums cannot be signed"))
	}
	comment := fmt.Sprintf("timestamp:%d\tfile:%s\tversion:%s\thashed", r.created.Unix(), checksums, r.version)
	signed := reader.SignWithComments(key, comment, "signature of "+checksums+" by minisign")
	return "Signed: minisign -Vm " + checksums + " -P " + public.String(), r.write(signature, signed)
}

// secretKey reads a key of minisign, or the file that has it.
func secretKey(key, password string) (minisign.PrivateKey, error) {
	text := []byte(key)
	if !strings.HasPrefix(key, "untrusted comment:") {
		var err error
		if text, err = os.ReadFile(key); err != nil {
			return minisign.PrivateKey{}, errors.New("it is neither a secret key, which begins with its untrusted comment, nor the path of a file that can be read")
		}
	}
	if minisign.IsEncrypted(text) {
		return minisign.DecryptKey(password, text)
	}
	var plain minisign.PrivateKey
	return plain, plain.UnmarshalText(text)
}
