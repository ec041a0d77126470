package docs

import (
	"go/ast"
	"go/token"
	"io/fs"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

// versionOfArgs are the packages with a version of HyperconvergeArgs.
var versionOfArgs = regexp.MustCompile(`^pkg/apis/config/v\d`)

// TestNoTwoTypesShareAName looks for exported types below pkg with one name: a reader
// of "Verdict" or "Volume" should not have to ask whose.
//
// The versions of the configuration are left out: conversion-gen pairs their types
// with those of pkg/apis/config by name. Generated code declares no types of its own.
func TestNoTwoTypesShareAName(t *testing.T) {
	declaredIn := map[string]string{} // type -> package
	for _, dir := range packagesBelow(t, "pkg") {
		if versionOfArgs.MatchString(dir) {
			continue
		}
		for path, file := range parse(t, filepath.Join(dir, "*.go")) {
			if strings.HasSuffix(path, "_test.go") || ast.IsGenerated(file) {
				continue
			}
			for _, name := range exportedTypes(file) {
				if other, taken := declaredIn[name]; taken {
					t.Errorf("%s is a type of %s and of %s: give one of them another name", name, other, dir)
				}
				declaredIn[name] = dir
			}
		}
	}
	if len(declaredIn) < 60 {
		t.Errorf("only %d types were found: %v", len(declaredIn), declaredIn)
	}
}

func exportedTypes(file *ast.File) []string {
	var names []string
	for _, declaration := range file.Decls {
		types, ok := declaration.(*ast.GenDecl)
		if !ok || types.Tok != token.TYPE {
			continue
		}
		for _, spec := range types.Specs {
			if name := spec.(*ast.TypeSpec).Name; name.IsExported() {
				names = append(names, name.Name)
			}
		}
	}
	return names
}

// packagesBelow are the directories with Go files, as paths from the root.
func packagesBelow(t *testing.T, top string) []string {
	t.Helper()
	var found []string
	err := filepath.WalkDir(filepath.Join(root, top), func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.IsDir() {
			return err
		}
		if files, _ := filepath.Glob(filepath.Join(path, "*.go")); len(files) == 0 {
			return nil
		}
		dir, err := filepath.Rel(root, path)
		found = append(found, dir)
		return err
	})
	if err != nil || len(found) == 0 {
		t.Fatalf("there are no packages below %s: %v", top, err)
	}
	return found
}
