// Package edited looks at files that people edit while a program runs.
package edited

import (
	"bytes"
	"context"
	"time"
)

// File is such a file. One goroutine uses it.
type File struct {
	read func() ([]byte, error)

	judged, seen []byte // last content that Look returned, and last read
}

// New creates a file from its content and the function that reads it.
func New(content []byte, read func() ([]byte, error)) *File {
	return &File{read: read, judged: content, seen: content}
}

// Look reads the file once. changed reports whether it has other content than Look
// has returned last. A change counts when two consecutive looks agree, so that a
// half-written file is not used. After an error, the next content counts in any case.
func (f *File) Look() (content []byte, changed bool, err error) {
	content, err = f.read()
	if err != nil {
		f.judged, f.seen = nil, nil
		return nil, false, err
	}
	settled := bytes.Equal(content, f.seen)
	f.seen = content
	if !settled || f.judged != nil && bytes.Equal(content, f.judged) {
		return nil, false, nil
	}
	f.judged = content
	return content, true, nil
}

// Every calls look at an interval until ctx ends.
func Every(ctx context.Context, interval time.Duration, look func()) {
	t := time.NewTicker(interval)
	defer t.Stop()
	for {
		select {
		case <-t.C:
			look()
		case <-ctx.Done():
			return
		}
	}
}
