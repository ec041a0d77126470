// Command release makes the files of a release in DIST, one part at each call, in the
// folder of the project:
//
//	release image NAME ARCH=BINARY...   the image of a program, and its bills of materials
//	release plugin FOLDER               the kubectl plugin from FOLDER/OS-ARCH, with bills and krew's manifest
//	release chart                       the Helm chart
//	release install                     an install.yaml for each common choice
//	release sign                        checksums of all that is there, and their signature
//
// It reads VERSION, REVISION, SOURCE_DATE_EPOCH and DIST, as hack/version.sh sets them; ARCH,
// the architectures of the images; REGISTRY, the registry and folder that images are
// pulled from; MINISIGN_KEY, a secret key of minisign or the path of one, and
// MINISIGN_PASSWORD.
package main

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/hyperconverge/scheduler/hack/image"
)

// release is what all parts are made from.
type release struct {
	source, dist      string // folders: that of the project, and that of the files to write
	version, revision string
	registry          string
	arches            []string
	created           time.Time
	key, password     string
}

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "release:", err)
		os.Exit(1)
	}
}

func run(args []string) error {
	r := release{
		source: ".", dist: os.Getenv("DIST"), version: os.Getenv("VERSION"), revision: os.Getenv("REVISION"),
		registry: strings.TrimSuffix(os.Getenv("REGISTRY"), "/"), arches: strings.Fields(os.Getenv("ARCH")),
		key: os.Getenv("MINISIGN_KEY"), password: os.Getenv("MINISIGN_PASSWORD"),
	}
	epoch, err := strconv.ParseInt(os.Getenv("SOURCE_DATE_EPOCH"), 10, 64)
	if err != nil || r.version == "" || r.dist == "" || len(r.arches) == 0 {
		return errors.New("VERSION, SOURCE_DATE_EPOCH, DIST and ARCH have to be set: run hack/release.sh or hack/image.sh")
	}
	r.created = time.Unix(epoch, 0).UTC()

	switch {
	case len(args) > 2 && args[0] == "image":
		return r.image(args[1], args[2:])
	case len(args) == 2 && args[0] == "plugin":
		return r.plugin(args[1])
	case len(args) == 1 && args[0] == "chart":
		return r.chart()
	case len(args) == 1 && args[0] == "install":
		return r.install()
	case len(args) == 1 && args[0] == "sign":
		said, err := r.sign()
		if err == nil {
			fmt.Println(said)
		}
		return err
	}
	return fmt.Errorf("there is no %q with these arguments", strings.Join(args, " "))
}

// image writes the image of a program for all architectures, or for the only one, which
// is in the name then.
func (r release) image(name string, binaries []string) error {
	var programs []image.Program
	for _, argument := range binaries {
		arch, path, _ := strings.Cut(argument, "=")
		binary, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		if err := r.bill(name, name+"-linux-"+arch, binary); err != nil {
			return err
		}
		programs = append(programs, image.Program{Arch: arch, Binary: binary})
	}
	file := name + ".tar"
	if len(programs) == 1 {
		file = name + "-" + programs[0].Arch + ".tar"
	}
	digest, err := image.Write(filepath.Join(r.dist, file), r.describe(name), programs)
	if err != nil {
		return err
	}
	fmt.Printf("%s %s %s\n", filepath.Join(r.dist, file), r.version, digest)
	return nil
}

func (r release) describe(name string) image.Release {
	return image.Release{Name: name, Version: r.version, Revision: r.revision, Created: r.created}
}

// bill writes the bill of materials of a binary.
func (r release) bill(name, file string, binary []byte) error {
	document, err := image.Bill(r.describe(name), binary)
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	return r.write(file+".spdx.json", document)
}

func (r release) write(file string, content []byte) error {
	return os.WriteFile(filepath.Join(r.dist, file), content, 0o644)
}

// substitute replaces every line that a pattern describes, and fails if there is none.
func substitute(text []byte, line, replacement string) ([]byte, error) {
	pattern := regexp.MustCompile("(?m)^" + line + "$")
	if !pattern.Match(text) {
		return nil, fmt.Errorf("there is no line %s", line)
	}
	return pattern.ReplaceAll(text, []byte(replacement)), nil
}

// onlyArch has Deployments choose nodes of the architecture of the images if that is one
// only.
func (r release) onlyArch(manifests []byte) ([]byte, error) {
	if len(r.arches) > 1 {
		return manifests, nil
	}
	return substitute(manifests, "( +)kubernetes.io/os: linux", "${1}kubernetes.io/arch: "+r.arches[0]+"\n${0}")
}
