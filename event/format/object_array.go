package format

import (
	"strconv"
	"strings"

	"github.com/weirdev/weir/event"
)

// element is a wanted element of an array.
type element struct {
	at   int // its index; fromEnd: the last one, everyOne: all of them, as one text
	node *pathNode
}

const (
	fromEnd  = -1
	everyOne = -2
)

// cutIndex splits [0], [-1] or [*] off the end of a step.
func cutIndex(step string) (key string, at int, ok bool) {
	key, index, ok := cutLast(step, '[')
	index, closed := strings.CutSuffix(index, "]")
	if !ok || !closed || key == "" {
		return "", 0, false
	}
	switch index {
	case "*":
		return key, everyOne, true
	case "-1":
		return key, fromEnd, true
	}
	n, err := strconv.ParseUint(index, 10, 16)
	return key, int(n), err == nil
}

func (n *pathNode) element(at int) *pathNode {
	for i := range n.elements {
		if n.elements[i].at == at {
			return n.elements[i].node
		}
	}
	node := &pathNode{}
	n.elements = append(n.elements, element{at, node})
	return node
}

// array reads the array that begins here.
func (f *objectFormat) array(n *pathNode, depth int, e *event.Event) bool {
	start := f.i
	at, last := 0, 0
	ok := f.skipAll(']', depth, event.None, func() bool {
		last = f.i
		ok := f.element(n, at, depth+1, e)
		at++
		return ok
	})
	if !ok || at == 0 {
		return ok
	}
	end := f.i
	for i := range n.elements {
		switch w := &n.elements[i]; w.at {
		case fromEnd:
			f.i = last
			ok = f.value(w.node, depth+1, e)
		case everyOne:
			f.i = start
			ok = f.join(w.node, depth, e)
		}
		if !ok {
			return false
		}
	}
	f.i = end
	return true
}

// element reads the element at that index.
func (f *objectFormat) element(n *pathNode, at, depth int, e *event.Event) bool {
	for i := range n.elements {
		if n.elements[i].at == at {
			return f.value(n.elements[i].node, depth, e)
		}
	}
	return f.skip(depth, event.None)
}

// join reads all texts and numbers of an array as one text, separated like the
// instances of a header.
func (f *objectFormat) join(n *pathNode, depth int, e *event.Event) bool {
	start, from := f.i, len(f.joined)
	ok := f.skipAll(']', depth, event.None, func() bool {
		t, ok := f.token(depth + 1)
		if ok && (t.kind == tokenText || t.kind == tokenScalar) {
			if len(f.joined) > from {
				f.joined = append(f.joined, ", "...)
			}
			f.joined = append(f.joined, t.text...)
		}
		return ok
	})
	return ok && f.offer(n.sources, token{kind: tokenText, text: alias(f.joined[from:])}, start, e)
}
