package image

import (
	"archive/tar"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"
)

// File is one entry of an archive. It is a directory if its path ends in a slash, and a
// symbolic link if it has a link.
type File struct {
	Path    string
	Mode    int64
	Content []byte
	Link    string
}

// Pack writes a tar archive of files, all owned by root and of the same age.
func Pack(archive io.Writer, age time.Time, files []File) error {
	w := tar.NewWriter(archive)
	for _, f := range files {
		header := &tar.Header{
			Name: f.Path, Linkname: f.Link, Mode: f.Mode, Size: int64(len(f.Content)), ModTime: age,
			Typeflag: tar.TypeReg, Format: tar.FormatUSTAR,
		}
		switch {
		case strings.HasSuffix(f.Path, "/"):
			header.Typeflag = tar.TypeDir
		case f.Link != "":
			header.Typeflag = tar.TypeSymlink
		}
		if err := w.WriteHeader(header); err != nil {
			return err
		}
		if _, err := w.Write(f.Content); err != nil {
			return err
		}
	}
	return w.Close()
}

// Folder reads the files below a folder, in the order of their paths in it.
func Folder(folder string) ([]File, error) {
	var files []File
	err := filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		name, errName := filepath.Rel(folder, path)
		content, errContent := os.ReadFile(path)
		files = append(files, File{Path: filepath.ToSlash(name), Mode: 0o644, Content: content})
		return errors.Join(errName, errContent)
	})
	return files, err
}
