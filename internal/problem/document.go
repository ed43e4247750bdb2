package problem

import (
	"bytes"
	"errors"
	"io"
	"strings"

	"go.yaml.in/yaml/v4"
)

// Document is a YAML file that is being read, with the places of its nodes.
type Document struct {
	Name     string
	Lines    []string
	Problems *Problems // where what is wrong goes

	data []byte
}

// Read sets the document's text.
func (d *Document) Read(data []byte) {
	d.data, d.Lines = data, strings.Split(string(data), "\n")
}

// Parse reads the text as one YAML document. root is nil if it is empty or not
// YAML; in the latter case ok is false, and the error is reported with do, which
// says what to look for.
func (d *Document) Parse(do string) (root *yaml.Node, ok bool) {
	loader, err := yaml.NewLoader(bytes.NewReader(d.data), yaml.WithV4Defaults())
	if err != nil {
		d.syntax(err, do)
		return nil, false
	}
	var doc, second yaml.Node
	switch err := loader.Load(&doc); {
	case errors.Is(err, io.EOF) || err == nil && len(doc.Content) == 0:
		return nil, true
	case err != nil:
		d.syntax(err, do)
		return nil, false
	}
	switch err := loader.Load(&second); {
	case err == nil:
		d.At(second.Line, second.Column, "a second YAML document starts here", "keep one document in each file")
	case !errors.Is(err, io.EOF):
		d.syntax(err, do)
	}
	return doc.Content[0], true
}

// syntax reports that the file is not YAML.
func (d *Document) syntax(err error, do string) {
	var one *yaml.LoadError
	if !errors.As(err, &one) {
		d.Whole("is not YAML: "+err.Error(), do)
		return
	}
	line, column := one.Mark.Line, one.Mark.Column
	if line == 0 && one.Stage == "reader" {
		line, column = d.place(one.Mark.Index)
	}
	d.At(line, column, "not YAML: "+strings.TrimPrefix(one.Message, "yaml: "), do)
}

// place converts a byte offset to line and column.
func (d *Document) place(offset int) (line, column int) {
	before := d.data[:min(max(offset, 0), len(d.data))]
	start := bytes.LastIndexByte(before, '\n') + 1
	return 1 + bytes.Count(before, []byte{'\n'}), 1 + len([]rune(string(before[start:])))
}

// Whole reports a problem with the whole file.
func (d *Document) Whole(what, do string) {
	d.Problems.List = append(d.Problems.List, Problem{File: d.Name, What: what, Do: do})
}

// At reports a problem at a line and column, both from 1.
func (d *Document) At(line, column int, what, do string) {
	p := Problem{File: d.Name, Line: max(line, 1), Column: max(column, 1), What: what, Do: do}
	if p.Line <= len(d.Lines) {
		p.Text = strings.TrimSuffix(d.Lines[p.Line-1], "\r")
	}
	d.Problems.List = append(d.Problems.List, p)
}

// Node reports a problem at a node.
func (d *Document) Node(n *yaml.Node, what, do string) { d.At(n.Line, n.Column, what, do) }

// RuneIndex returns the index in text of a place: its line, from 1, and its column,
// from 0.
func RuneIndex(text []rune, line, column int) int {
	i := 0
	for ; line > 1 && i < len(text); i++ {
		if text[i] == '\n' {
			line--
		}
	}
	return min(i+max(column, 0), len(text))
}
