// Command image puts a static binary into a container image, as an OCI archive,
// and writes its bill of materials. It needs neither a daemon nor a registry, and
// makes the same bytes from the same binary.
//
// The image is made from nothing: the binary, an account nonroot, and the
// certificates of the authorities that Mozilla trusts, at a version that go.mod
// pins. These of the machine would make every machine's image another one.
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"time"
)

// release is what the image is told about its content.
type release struct {
	name, version, revision, arch string
	// created is the time of the commit.
	created time.Time
}

func main() {
	if err := run(); err != nil {
		fmt.Fprintln(os.Stderr, "image:", err)
		os.Exit(1)
	}
}

func run() error {
	var r release
	var binary, archive, bill string
	var epoch int64
	flag.StringVar(&r.name, "name", "", "name of the binary in the image, and of the image")
	flag.StringVar(&r.version, "version", "", "version of the release")
	flag.StringVar(&r.revision, "revision", "", "commit of the release")
	flag.StringVar(&r.arch, "arch", "amd64", "architecture of the binary")
	flag.Int64Var(&epoch, "epoch", 0, "time of the release, in seconds since 1970")
	flag.StringVar(&binary, "binary", "", "path of the binary")
	flag.StringVar(&archive, "archive", "", "path of the OCI archive to write")
	flag.StringVar(&bill, "bill", "", "path of the SPDX document to write")
	flag.Parse()
	for _, value := range []string{r.name, r.version, binary, archive, bill} {
		if value == "" {
			return errors.New("-name, -version, -binary, -archive and -bill are needed")
		}
	}
	r.created = time.Unix(epoch, 0).UTC()

	content, err := os.ReadFile(binary)
	if err != nil {
		return err
	}
	document, err := billOf(r, content)
	if err != nil {
		return err
	}
	image, err := imageOf(r, content)
	if err != nil {
		return err
	}
	digest, err := image.Digest()
	if err != nil {
		return err
	}
	if err := os.WriteFile(bill, document, 0o644); err != nil {
		return err
	}
	if err := writeArchive(archive, r, image); err != nil {
		return err
	}
	fmt.Printf("%s %s %s\n", archive, r.version, digest)
	return nil
}
