package rules

import (
	"fmt"

	"github.com/weirdev/weir/event"
)

// MaxDocument is the longest file that [Set.Document] reads, in bytes.
const MaxDocument = maxFileBytes

// Document reads a file that another part of Weir defines, such as a policy: as key
// demands, in the language of the set, with its lists and route classes. docs is the
// page that describes it.
//
// What is wrong is gathered, also what the caller reports with [Params.Problem], until
// [Params.Err] is asked. The result is never nil; where a file does not read, all of it
// is absent.
func (s *Set) Document(name string, data []byte, key Key, docs string) *Params {
	f := newFile(name, &Problems{In: key.name})
	r := &reader{file: f, language: s.language, docs: docs}
	p := &Params{r: r}
	if len(data) > maxFileBytes {
		f.whole(fmt.Sprintf("is longer than %d KiB", maxFileBytes>>10), "make it shorter; is this the right file?")
		return p
	}
	f.data = data
	f.Read(data)
	if root := f.parse(key.members[0].name); root != nil {
		p.v = r.read(root, &key)
	}
	return p
}

// Err is everything that is wrong in the file that p is of, a [*Problems]; nil where
// nothing is.
func (p *Params) Err() error {
	if len(p.r.problems.List) == 0 {
		return nil
	}
	p.r.problems.Sort()
	return p.r.problems
}

// Wrong is how many problems there are so far in the file that p is of.
func (p *Params) Wrong() int { return len(p.r.problems.List) }

// Line is where p stands in its file.
func (p *Params) Line() int {
	if p.v == nil {
		return 0
	}
	return p.v.node.Line
}

// LineOf is where a key stands; 0 where it is absent.
func (p *Params) LineOf(name string) int { return (&Params{v: p.v.get(name)}).Line() }

// Event is the event whose fields a [ValuesKey] gives.
func (p *Params) Event(name string) *event.Event {
	e := new(event.Event)
	if v := p.v.get(name); v != nil {
		(&Step{Values: v.values}).fill(e, 1)
	}
	return e
}

// ValuesKey is the key of a mapping from event fields to values.
func ValuesKey(name string, need bool, doc string) Key {
	return Key{name: name, form: valuesForm, required: need, doc: doc}
}

// NamePattern is what names of policies, rules and the like look like.
const NamePattern = idPattern
