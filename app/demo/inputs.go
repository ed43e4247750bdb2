package demo

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/weirdev/weir/internal/packed"
)

// series is one log: its files in the order in which they were written.
type series []string

// gather puts the files of each log together, the oldest first, as log rotation
// names them: access.log.2.gz, access.log.1, access.log; or with dates. Logs stay in
// the order in which they are first named.
func gather(files []string) (logs []series) {
	places := map[string]int{}
	for _, f := range files {
		base, _ := rotation(f)
		at, known := places[base]
		if !known {
			at = len(logs)
			places[base] = at
			logs = append(logs, nil)
		}
		if !slices.Contains(logs[at], f) {
			logs[at] = append(logs[at], f)
		}
	}
	for _, files := range logs {
		slices.SortStableFunc(files, func(a, b string) int {
			_, ageA := rotation(a)
			_, ageB := rotation(b)
			switch {
			case ageA > ageB:
				return -1
			case ageA < ageB:
				return 1
			}
			return 0
		})
	}
	return logs
}

var (
	numbered = regexp.MustCompile(`^(.+)\.([0-9]{1,4})$`)
	dated    = regexp.MustCompile(`^(.+?)[-.]([0-9]{8}|[0-9]{4}-[0-9]{2}-[0-9]{2})(?:[-.]?([0-9]{2,10}))?(\.log)?$`)
)

// rotation splits a file's name into that of its log and its age: 0 is what is
// written to at present, more is older.
func rotation(file string) (log string, age int64) {
	name := strings.TrimSuffix(file, ".gz")
	if m := numbered.FindStringSubmatch(name); m != nil {
		n, _ := strconv.ParseInt(m[2], 10, 64) // four digits
		return m[1], n + 1
	}
	if m := dated.FindStringSubmatch(name); m != nil {
		day, err := strconv.ParseInt(strings.ReplaceAll(m[2], "-", ""), 10, 64)
		if err == nil {
			hour, _ := strconv.ParseInt((m[3] + "00000000000")[:10], 10, 64) // digits
			return m[1] + m[4], 1<<62 - day*10_000_000_000 - hour
		}
	}
	return name, 0
}

// open opens a file of lines, and unpacks what is packed.
func open(path string) (io.ReadCloser, error) {
	f, err := packed.Open(path)
	if err != nil {
		return nil, fmt.Errorf("-input: %w", err)
	}
	return f, nil
}

// spool copies what can be read once only to a file of its own.
func spool(in io.Reader, dir string) (path string, err error) {
	f, err := os.CreateTemp(dir, "weir-stdin-*")
	if err != nil {
		return "", err
	}
	_, err = io.Copy(f, in)
	if err = errors.Join(err, f.Close()); err != nil {
		return "", errors.Join(fmt.Errorf("-input -: %w", err), os.Remove(f.Name()))
	}
	return f.Name(), nil
}

const longestLine = 1 << 20

// lines reads one log line by line, through all its files.
type lines struct {
	files series
	file  io.ReadCloser // nil: the next one is to be opened
	in    *bufio.Reader
	n     int // of the line in its file, from 1
}

// next returns a line without its end, valid until the next call; io.EOF behind the
// last. Blank lines are passed over. A line at the end of a file ends there.
func (l *lines) next() (line []byte, err error) {
	for {
		if l.file == nil {
			if len(l.files) == 0 {
				return nil, io.EOF
			}
			if l.file, err = open(l.files[0]); err != nil {
				return nil, err
			}
			l.n = 0
			if l.in == nil {
				l.in = bufio.NewReaderSize(nil, longestLine)
			}
			l.in.Reset(l.file)
		}
		l.n++
		line, err = l.in.ReadSlice('\n')
		switch {
		case errors.Is(err, bufio.ErrBufferFull):
			return nil, fmt.Errorf("-input: line %d of %s is longer than %d bytes: is this a log?", l.n, l.files[0], longestLine)
		case err != nil && !errors.Is(err, io.EOF):
			return nil, err
		case len(bytes.TrimSpace(line)) > 0:
			return bytes.TrimRight(line, "\r\n"), nil
		case err == nil:
			continue
		}
		l.files = l.files[1:]
		if err := l.close(); err != nil {
			return nil, err
		}
	}
}

func (l *lines) close() error {
	if l.file == nil {
		return nil
	}
	err := l.file.Close()
	l.file = nil
	return err
}
