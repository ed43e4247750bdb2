// Package packed opens line files, plain or gzipped, such as rotated logs.
package packed

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
)

// Open opens a file, and decompresses gzip, which it recognises by the content, not
// the name. Errors name the file, including errors of reading.
func Open(path string) (io.ReadCloser, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("%w; name a file that is there and that this user may read", err)
	}
	if info, err := f.Stat(); err == nil && info.IsDir() {
		return nil, errors.Join(fmt.Errorf("%s is a directory; name its files, such as %s", path, filepath.Join(path, "access.log*")), f.Close())
	}
	in := bufio.NewReaderSize(f, 1<<16)
	if magic, _ := in.Peek(2); !bytes.Equal(magic, []byte{0x1f, 0x8b}) {
		return &file{in, f, path}, nil
	}
	z, err := gzip.NewReader(in)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("%s: %w; is it complete?", path, err), f.Close())
	}
	return &file{z, f, path}, nil
}

// file is the content of a file.
type file struct {
	io.Reader
	io.Closer
	path string
}

func (f *file) Read(b []byte) (int, error) {
	n, err := f.Reader.Read(b)
	if err != nil && !errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
		err = fmt.Errorf("%s: %w; is it complete?", f.path, err)
	}
	return n, err
}
