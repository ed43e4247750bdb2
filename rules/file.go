package rules

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"slices"
	"strings"
	"unicode"

	"go.yaml.in/yaml/v4"

	"github.com/weirdev/weir/condition"
	"github.com/weirdev/weir/internal/problem"
)

const (
	maxFileBytes = 256 << 10
	maxRules     = 1000 // in all files
	maxFiles     = 4000
	maxBytes     = 32 << 20 // of all files
	maxEntries   = 100_000  // files and folders that are looked at
)

// ErrTooMuch means that a directory, or a bundle, holds more than rules ever need: it is
// probably another one than was meant.
var ErrTooMuch = errors.New("too much for rules")

// file is a rule file that is being read.
type file struct {
	problem.Document
	name     string
	data     []byte
	problems *Problems
	root     *yaml.Node // nil where it is no YAML
}

func newFile(name string, problems *Problems) *file {
	return &file{Document: problem.Document{Name: name, Problems: problems}, name: name, problems: problems}
}

// walk calls visit for all *.yaml and *.yml below fsys, in order of name. It ignores
// folders whose name starts with a dot, in which a mounted ConfigMap keeps its versions.
// visit returns how many bytes it has read. The error is [ErrTooMuch] beyond the limits.
func walk(fsys fs.FS, visit func(name string) (int, error)) error {
	const do = "name the directory of the rules alone, or make fewer and smaller files of them"
	entries, files, size := 0, 0, 0
	return fs.WalkDir(fsys, ".", func(name string, d fs.DirEntry, err error) error {
		entries++
		switch {
		case err != nil:
			return err
		case entries > maxEntries:
			return fmt.Errorf("%w: more than %d files and folders; %s", ErrTooMuch, maxEntries, do)
		case d.IsDir() && name != "." && strings.HasPrefix(d.Name(), "."):
			return fs.SkipDir
		case d.IsDir() || path.Ext(name) != ".yaml" && path.Ext(name) != ".yml":
			return nil
		}
		if files++; files > maxFiles {
			return fmt.Errorf("%w: more than %d YAML files; %s", ErrTooMuch, maxFiles, do)
		}
		n, err := visit(name)
		if size += n; err == nil && size > maxBytes {
			return fmt.Errorf("%w: more than %d MiB in YAML files; %s", ErrTooMuch, maxBytes>>20, do)
		}
		return err
	})
}

// readFiles reads all *.yaml below fsys, in order of name.
func readFiles(fsys fs.FS, problems *Problems) ([]*file, error) {
	var files []*file
	err := walk(fsys, func(name string) (int, error) {
		f := newFile(name, problems)
		if path.Ext(name) == ".yml" {
			f.whole("this file would not be read", "rename it: rule files end in .yaml")
		} else if f.read(fsys) {
			files = append(files, f)
		}
		return len(f.data), nil
	})
	if err != nil {
		return nil, fmt.Errorf("read rules: %w", err)
	}
	return files, nil
}

// Content returns the names and the bytes of the files below fsys that [Load] looks at, so
// that a program can tell whether they have changed. It checks nothing else.
func Content(fsys fs.FS) ([]byte, error) {
	var b bytes.Buffer
	err := walk(fsys, func(name string) (int, error) {
		data, err := readRegular(fsys, name)
		if err != nil && !errors.Is(err, errNotRegular) {
			return 0, err
		}
		fmt.Fprintf(&b, "%q %d\n%s\n", name, len(data), data)
		return len(data), nil
	})
	return b.Bytes(), err
}

// read loads the file; false if it cannot be a rule file.
func (f *file) read(fsys fs.FS) bool {
	data, err := readRegular(fsys, f.name)
	switch {
	case errors.Is(err, errNotRegular):
		return false
	case err != nil:
		f.whole(fmt.Sprintf("cannot be read: %v", err), "check that it exists and may be read by this user")
		return false
	case len(data) > maxFileBytes:
		f.whole(fmt.Sprintf("is longer than %d KiB", maxFileBytes>>10), "split it: one file for each subject")
		return false
	}
	f.data = data
	f.Read(data)
	return true
}

var errNotRegular = errors.New("not a regular file")

func readRegular(fsys fs.FS, name string) ([]byte, error) {
	// The check comes before opening, because opening a named pipe would wait for
	// its writer.
	info, err := fs.Stat(fsys, name)
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errNotRegular
	}
	r, err := fsys.Open(name)
	if err != nil {
		return nil, err
	}
	defer r.Close()
	return io.ReadAll(io.LimitReader(r, maxFileBytes+1))
}

// holds reports whether the file has a key.
func (f *file) holds(root *yaml.Node, name string) bool {
	return root.Kind == yaml.MappingNode && slices.ContainsFunc(root.Content, func(n *yaml.Node) bool {
		return n.Kind == yaml.ScalarNode && n.Value == name
	})
}

// only returns the file's mapping with the named keys or, if without is set, with
// all others. It returns anything but a mapping unchanged.
func (f *file) only(without bool, names ...string) *yaml.Node {
	if f.root.Kind != yaml.MappingNode {
		return f.root
	}
	part := *f.root
	part.Content = nil
	for i := 0; i+1 < len(f.root.Content); i += 2 {
		if slices.Contains(names, f.root.Content[i].Value) != without {
			part.Content = append(part.Content, f.root.Content[i], f.root.Content[i+1])
		}
	}
	return &part
}

// parse reads the file as one YAML document; nil if it is none. what is the key of
// the list that it should contain.
func (f *file) parse(what string) *yaml.Node {
	root, ok := f.Document.Parse("check indentation, quotes and brackets; a condition that starts with a quote, or holds \": \" or \" #\", stands in a block: when: |")
	if ok && root == nil {
		f.whole("holds no "+what, "write a list of "+what+" under the key "+what+", or remove the file")
	}
	f.root = root
	return root
}

// whole reports a problem with the whole file.
func (f *file) whole(what, do string) { f.Whole(what, do) }

// at reports a problem at a line and column, both from 1.
func (f *file) at(line, column int, what, do string) { f.At(line, column, what, do) }

// node reports a problem at a node.
func (f *file) node(n *yaml.Node, what, do string) { f.Node(n, what, do) }

// inside finds the place in the file of a place (line from 1, column from 0) in a
// scalar's text. YAML folds, indents and unescapes, so the two are compared without
// their blanks; if they differ, the result is the scalar's start.
func (f *file) inside(n *yaml.Node, text string, line, column int) (int, int) {
	source := f.content(n)
	wanted := []rune(text)
	for left := problem.RuneIndex(wanted, line, column); ; left-- {
		for source.blank() {
			source.next()
		}
		for len(wanted) > 0 && unicode.IsSpace(wanted[0]) {
			wanted, left = wanted[1:], left-1
		}
		switch {
		case left <= 0:
			return source.line, source.column
		case len(wanted) == 0 || len(source.rest) == 0 || wanted[0] != source.rest[0]:
			return n.Line, n.Column
		}
		wanted = wanted[1:]
		source.next()
	}
}

// content returns the file's text from the start of a scalar's content.
func (f *file) content(n *yaml.Node) cursor {
	c := cursor{line: n.Line, column: n.Column}
	if n.Style&(yaml.LiteralStyle|yaml.FoldedStyle) != 0 {
		c.line, c.column = n.Line+1, 1
	}
	if c.line < 1 || c.line > len(f.Lines) {
		return c
	}
	last, length := c.line, 0
	for last < len(f.Lines) && length < 4*condition.MaxLength {
		length += len(f.Lines[last-1]) + 1
		last++
	}
	c.rest = []rune(strings.Join(f.Lines[c.line-1:last], "\n"))
	c.rest = c.rest[min(c.column-1, len(c.rest)):]
	if n.Style&(yaml.DoubleQuotedStyle|yaml.SingleQuotedStyle) != 0 {
		c.next()
	}
	return c
}

// cursor is a place in a file.
type cursor struct {
	rest         []rune
	line, column int
}

func (c *cursor) blank() bool { return len(c.rest) > 0 && unicode.IsSpace(c.rest[0]) }

func (c *cursor) next() {
	if len(c.rest) == 0 {
		return
	}
	if c.rest[0] == '\n' {
		c.line, c.column = c.line+1, 0
	}
	c.rest, c.column = c.rest[1:], c.column+1
}
