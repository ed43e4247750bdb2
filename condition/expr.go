package condition

import (
	"regexp"
	"strconv"
	"strings"

	"github.com/weirdev/weir/event"
)

// op is the operation of an expression.
type op uint8

const (
	opConst op = iota + 1
	opWord
	opNot
	opAnd // of two or more
	opOr  // of two or more
	opEqual
	opUnequal
	opLess
	opLessEqual
	opGreater
	opGreaterEqual
	opIn
	opStarts
	opEnds
	opContains
	opMatches
	opSize
	opIf
	opHas
	opNegate
	opAdd
	opSubtract
	opMultiply
	opDivide    // by a constant that is not 0
	opRemainder // likewise
	opListed    // in a list, or in networks that stand in the condition
)

// expr is a checked condition, or a part of one: CEL's tree without everything that
// conditions do not support.
type expr struct {
	op   op
	sort Sort
	args []*expr

	word *Word // opWord

	text string // opConst
	num  int64  // opConst; flags are 1 or 0

	texts []string // opIn
	nums  []int64  // opIn

	pattern *regexp.Regexp // opMatches

	list *List // opListed

	line, column int // in the source: line from 1, column from 0
}

// canonical writes the expression so that two conditions that differ only in
// blanks, brackets or quotes give the same text.
func (t *expr) canonical(b *strings.Builder) {
	switch t.op {
	case opConst:
		b.WriteString(t.literal())
		return
	case opWord:
		b.WriteString(t.word.Name)
		if t.word.Version != "" {
			b.WriteString("#" + t.word.Version)
		}
		return
	}
	b.WriteString("(" + strconv.Itoa(int(t.op)))
	for _, a := range t.args {
		b.WriteByte(' ')
		a.canonical(b)
	}
	for _, s := range t.texts {
		b.WriteString(" " + strconv.Quote(s))
	}
	for _, n := range t.nums {
		b.WriteString(" " + strconv.FormatInt(n, 10))
	}
	if t.pattern != nil {
		b.WriteString(" " + strconv.Quote(t.pattern.String()))
	}
	if t.list != nil {
		b.WriteString(" " + t.list.Kind.String() + "#" + t.list.digest)
	}
	b.WriteByte(')')
}

func (t *expr) literal() string {
	switch t.sort {
	case Text:
		return strconv.Quote(t.text)
	case Flag:
		return strconv.FormatBool(t.num != 0)
	}
	return strconv.FormatInt(t.num, 10)
}

// fields collects the fields that the expression reads. The time, which expiring
// entries are compared with, is in every event.
func (t *expr) fields(into *[event.MaxField]bool) {
	if t.op == opWord {
		for _, f := range t.word.fields() {
			into[f] = true
		}
	}
	for _, a := range t.args {
		a.fields(into)
	}
}
