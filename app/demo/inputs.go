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

// gather groups the files of each log, the oldest first, by the names that log
// rotation gives them: access.log.2.gz, access.log.1, access.log; or with dates.
// Logs stay in the order of their first file.
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

// rotation splits a file name into the name of the log and the age: 0 is the
// current file, and greater values are older.
func rotation(file string) (log string, age int64) {
	name := strings.TrimSuffix(file, ".gz")
	if m := numbered.FindStringSubmatch(name); m != nil {
		n, _ := strconv.ParseInt(m[2], 10, 64) // four digits
		return m[1], n + 1
	}
	if m := dated.FindStringSubmatch(name); m != nil {
		day, err := strconv.ParseInt(strings.ReplaceAll(m[2], "-", ""), 10, 64)
		if err == nil {
			hour, _ := strconv.ParseInt((m[3] + "00000000000")[:10], 10, 64) // digits only
			return m[1] + m[4], 1<<62 - day*10_000_000_000 - hour
		}
	}
	return name, 0
}

// open opens a text file, and decompresses it if necessary.
func open(path string) (io.ReadCloser, error) {
	f, err := packed.Open(path)
	if err != nil {
		return nil, fmt.Errorf("-input: %w", err)
	}
	return f, nil
}

// spool copies an input that can only be read once to a file.
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

// lines reads the lines of one log, across all its files.
type lines struct {
	files series
	file  io.ReadCloser // nil: the next file must be opened
	in    *bufio.Reader
	n     int // line number in the file, from 1
}

// next returns a line without its end, valid until the next call, and io.EOF after
// the last one. Blank lines are skipped. The end of a file also ends a line.
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
