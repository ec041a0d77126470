package docs

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"k8s.io/apimachinery/pkg/util/sets"
)

const contract = "docs/behaviour.md"

var (
	ruleReference    = regexp.MustCompile(`\b[FS]\d{1,2}\b`)
	sectionReference = regexp.MustCompile(`\bsections? (\d+)(?:(?:, \d+)* (?:and|to) \d+)?`)
	number           = regexp.MustCompile(`\d+`)
	// otherSpelling finds what stands for "section 7" or "F5" elsewhere.
	otherSpelling = regexp.MustCompile(`§|\bSections? \d|(?i:\b(?:sec\.|sect\.|sec|chapter|rule|ch\.) ?\d)|\b[FS][- ]\d{1,2}\b`)
)

// TestReferencesToTheContract checks every mention of a rule or a section of
// docs/behaviour.md, in code, documents, manifests and scripts: it exists, and has
// the one spelling that a search for it finds, "F5" and "section 7".
func TestReferencesToTheContract(t *testing.T) {
	rules, sections := rulesOfTheContract(t), sectionsOfTheContract(t)
	found := sets.New[string]()
	for _, path := range textFiles(t) {
		for i, line := range strings.Split(read(t, path), "\n") {
			report := func(problem, reference string) { t.Errorf("%s:%d: %s: %q", path, i+1, problem, reference) }
			for _, reference := range ruleReference.FindAllString(line, -1) {
				if !rules.Has(reference) {
					report("there is no such rule", reference)
				}
				found.Insert(reference)
			}
			for _, reference := range sectionReference.FindAllString(line, -1) {
				for _, section := range number.FindAllString(reference, -1) {
					if !sections.Has(section) {
						report("there is no such section", reference)
					}
					found.Insert(section)
				}
			}
			if reference := otherSpelling.FindString(line); reference != "" {
				report(`write "section 7" and "F5"`, reference)
			}
		}
	}
	if found.Len() < 25 {
		t.Errorf("only these were found: %v", sets.List(found))
	}
}

// TestOtherSpellingsAreFound keeps the search for them from being in vain.
func TestOtherSpellingsAreFound(t *testing.T) {
	for text, want := range map[string]bool{
		"see section 7": false, "(F5, S8)": false, "sections 1, 2 and 5": false, "ipv4, s3://bucket": false,
		"§7": true, "§ 7": true, "sec. 7": true, "sec 7": true, "Section 7": true, "SEC. 7": true, "chapter 7": true,
		"rule 5": true, "F-5": true, "F 5": true,
	} {
		if got := otherSpelling.MatchString(text); got != want {
			t.Errorf("%q counts as another spelling: %v, want %v", text, got, want)
		}
	}
}

// rulesOfTheContract are the numbers in the tables of the filter and score rules.
func rulesOfTheContract(t *testing.T) sets.Set[string] {
	t.Helper()
	return matches(t, `(?m)^\| ([FS]\d+) \| [^|]+\|$`, 22)
}

// sectionsOfTheContract are the numbers in its headings.
func sectionsOfTheContract(t *testing.T) sets.Set[string] {
	t.Helper()
	return matches(t, `(?m)^## (\d+)\. `, 10)
}

func matches(t *testing.T, pattern string, least int) sets.Set[string] {
	t.Helper()
	found := sets.New[string]()
	for _, match := range regexp.MustCompile(pattern).FindAllStringSubmatch(read(t, contract), -1) {
		found.Insert(match[1])
	}
	if found.Len() < least {
		t.Fatalf("%s: %s is found only for %v, want %d", contract, pattern, sets.List(found), least)
	}
	return found
}

// textFiles are the files that may refer to the contract, as paths from the root.
// This package is none of them: it has the spellings that are wrong.
func textFiles(t *testing.T) []string {
	t.Helper()
	kinds := []string{".go", ".md", ".yaml", ".yml", ".json", ".sh", ".tmpl"}
	var files []string
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if slices.Contains([]string{".git", "bin", "dist", filepath.Join("test", "docs")}, name) {
				return fs.SkipDir
			}
			return nil
		}
		if slices.Contains(kinds, filepath.Ext(name)) || entry.Name() == "Makefile" || entry.Name() == "Dockerfile" {
			files = append(files, name)
		}
		return nil
	})
	if err != nil || len(files) < 100 {
		t.Fatalf("only %d files were found: %v", len(files), err)
	}
	return files
}

// read returns the content of a file, by its path from the root.
func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(root, path))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}
