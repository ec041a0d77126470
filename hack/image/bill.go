package image

import (
	"bytes"
	"crypto/sha256"
	"debug/buildinfo"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"runtime/debug"
	"strings"
	"time"
)

// The parts of an SPDX 2.3 document that are needed here.
type (
	document struct {
		Version       string         `json:"spdxVersion"`
		License       string         `json:"dataLicense"`
		ID            string         `json:"SPDXID"`
		Name          string         `json:"name"`
		Namespace     string         `json:"documentNamespace"`
		Creation      creation       `json:"creationInfo"`
		Packages      []spdxPackage  `json:"packages"`
		Relationships []relationship `json:"relationships"`
	}
	creation struct {
		Created  string   `json:"created"`
		Creators []string `json:"creators"`
	}
	spdxPackage struct {
		ID        string      `json:"SPDXID"`
		Name      string      `json:"name"`
		Version   string      `json:"versionInfo"`
		Location  string      `json:"downloadLocation"`
		Analyzed  bool        `json:"filesAnalyzed"`
		Concluded string      `json:"licenseConcluded"`
		Declared  string      `json:"licenseDeclared"`
		Copyright string      `json:"copyrightText"`
		Purpose   string      `json:"primaryPackagePurpose,omitempty"`
		Checksums []checksum  `json:"checksums,omitempty"`
		Refs      []reference `json:"externalRefs,omitempty"`
	}
	checksum struct {
		Algorithm string `json:"algorithm"`
		Value     string `json:"checksumValue"`
	}
	reference struct {
		Category string `json:"referenceCategory"`
		Type     string `json:"referenceType"`
		Locator  string `json:"referenceLocator"`
	}
	relationship struct {
		Element string `json:"spdxElementId"`
		Type    string `json:"relationshipType"`
		Related string `json:"relatedSpdxElement"`
	}
)

const (
	documentID = "SPDXRef-DOCUMENT"
	programID  = "SPDXRef-program"
	unknown    = "NOASSERTION"
)

// Bill lists what is compiled into the binary, as the binary itself says: every
// module, and Go's own library. It is an SPDX document.
func Bill(r Release, binary []byte) ([]byte, error) {
	info, err := buildinfo.Read(bytes.NewReader(binary))
	if err != nil {
		return nil, fmt.Errorf("%s does not say what it was built from: %w", r.Name, err)
	}
	sum := sha256.Sum256(binary)
	hash := hex.EncodeToString(sum[:])
	bill := document{
		Version: "SPDX-2.3", License: "CC0-1.0", ID: documentID,
		Name:      r.Name + "-" + r.Version,
		Namespace: "https://hyperconverge.dev/spdx/" + r.Name + "-" + hash,
		Creation:  creation{Created: r.Created.Format(time.RFC3339), Creators: []string{"Tool: hack/image"}},
		Packages: []spdxPackage{{
			ID: programID, Name: r.Name, Version: r.Version, Location: unknown, Purpose: "APPLICATION",
			Concluded: "Apache-2.0", Declared: "Apache-2.0", Copyright: unknown,
			Checksums: []checksum{{Algorithm: "SHA256", Value: hash}},
			Refs:      []reference{purl(info.Main.Path, r.Version)},
		}},
		Relationships: []relationship{{Element: documentID, Type: "DESCRIBES", Related: programID}},
	}
	modules := append([]*debug.Module{{Path: "stdlib", Version: strings.TrimPrefix(info.GoVersion, "go")}}, info.Deps...)
	for i, module := range modules {
		if module.Replace != nil {
			module = module.Replace
		}
		id := fmt.Sprintf("SPDXRef-module-%d", i)
		bill.Packages = append(bill.Packages, spdxPackage{
			ID: id, Name: module.Path, Version: module.Version, Location: unknown,
			Concluded: unknown, Declared: unknown, Copyright: unknown, Purpose: "LIBRARY",
			Refs: []reference{purl(module.Path, module.Version)},
		})
		bill.Relationships = append(bill.Relationships, relationship{Element: programID, Type: "DEPENDS_ON", Related: id})
	}
	content, err := json.MarshalIndent(bill, "", "  ")
	return append(content, '\n'), err
}

// purl names a Go module for those who look for its vulnerabilities.
func purl(path, version string) reference {
	return reference{
		Category: "PACKAGE-MANAGER", Type: "purl",
		Locator: "pkg:golang/" + path + "@" + strings.ReplaceAll(version, "+", "%2B"),
	}
}
