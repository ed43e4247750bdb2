package try

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/weirdev/weir/internal/packed"
)

const longestLine = 1 << 20

// Lines reads the lines of arguments. Each argument is a file (which may be
// compressed), - for standard input, or a line itself. Blank lines are skipped.
func Lines(args []string, stdin io.Reader, yield func(line []byte) error) error {
	for _, a := range args {
		if a == "-" {
			if err := each(stdin, "standard input", yield); err != nil {
				return err
			}
			continue
		}
		_, err := os.Stat(a)
		switch {
		case err == nil:
			err = file(a, yield)
		case looksLikePath(a):
			return err // the argument was meant as a file
		default:
			err = yield([]byte(a))
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// looksLikePath reports whether an argument cannot be a record of any format,
// because it contains neither a blank nor a brace.
func looksLikePath(arg string) bool { return !strings.ContainsAny(arg, " \t{|,;") }

func file(path string, yield func([]byte) error) error {
	f, err := packed.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	return each(f, path, yield)
}

// each reads lines without their ends.
func each(r io.Reader, name string, yield func([]byte) error) error {
	in := bufio.NewReaderSize(r, longestLine)
	for n := 1; ; n++ {
		line, err := in.ReadSlice('\n')
		if errors.Is(err, bufio.ErrBufferFull) {
			return fmt.Errorf("%s: line %d is longer than %d bytes: is this a log?", name, n, longestLine)
		}
		if text := bytes.TrimRight(line, "\r\n"); len(bytes.TrimSpace(text)) > 0 {
			if err := yield(text); err != nil {
				return err
			}
		}
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err // it names the input
		}
	}
}
