// Package problem describes errors in files that users write: the place, the line
// with a caret below the place, and what to do about it. Errors in rules and in
// settings are reported this way.
package problem

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"unicode"
)

// Problem is one error in a file.
type Problem struct {
	File   string
	Line   int    // from 1; 0 where the problem is about the file as a whole
	Column int    // from 1, in characters
	What   string // what is wrong
	Do     string // what to do about it
	Text   string // the line of the file
}

// Problems is an error with all errors in all files.
type Problems struct {
	List []Problem
	In   string // what the files hold, as in "3 problems in the rules"
}

// Error shows every problem: the place, what is wrong, the line with a caret below
// the place, and what to do.
func (p *Problems) Error() string {
	var b strings.Builder
	for i, one := range p.List {
		if i > 0 {
			b.WriteByte('\n')
		}
		one.write(&b)
	}
	fmt.Fprintf(&b, "\n%s in %s", Plural(len(p.List), "problem"), p.In)
	return b.String()
}

// Sort orders by file, line and column.
func (p *Problems) Sort() {
	slices.SortStableFunc(p.List, func(a, b Problem) int {
		return cmp.Or(cmp.Compare(a.File, b.File), cmp.Compare(a.Line, b.Line), cmp.Compare(a.Column, b.Column))
	})
}

// String shows the problem as [Problems.Error] does.
func (p Problem) String() string {
	var b strings.Builder
	p.write(&b)
	return b.String()
}

func (p Problem) write(b *strings.Builder) {
	b.WriteString(p.File)
	if p.Line > 0 {
		fmt.Fprintf(b, ":%d:%d", p.Line, p.Column)
	}
	fmt.Fprintf(b, ": %s\n", printable(p.What))
	if p.Line > 0 {
		writeExcerpt(b, p.Line, p.Text, p.Column)
	}
	fmt.Fprintf(b, "    %s\n", printable(p.Do))
}

const (
	excerptWidth = 110 // characters of a line that are shown
	excerptLead  = 80  // of these before the caret, where the line is longer
)

func writeExcerpt(b *strings.Builder, line int, text string, column int) {
	runes := []rune(printable(text))
	at := min(max(column-1, 0), len(runes))
	if len(runes) > excerptWidth {
		start := max(at-excerptLead, 0)
		runes = runes[start:min(start+excerptWidth, len(runes))]
		at -= start
	}
	margin := fmt.Sprintf("%5d | ", line)
	b.WriteString(strings.TrimRight(margin+string(runes), " ") + "\n")
	b.WriteString(strings.Repeat(" ", len(margin)-2) + "| " + strings.Repeat(" ", at) + "^\n")
}

// printable replaces characters that could move the cursor or colour the reader's
// terminal, because the text may come from anybody.
func printable(s string) string {
	return strings.Map(func(r rune) rune {
		switch {
		case r == '\t':
			return ' '
		case !unicode.IsPrint(r):
			return '\uFFFD'
		}
		return r
	}, s)
}

// Plural counts things: "1 problem", "2 problems".
func Plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
