package kafka

import (
	"cmp"
	"slices"
)

// aborted tells which batches of one answer belong to transactions that their
// producers aborted: those are in the log like all others. A broker that is asked
// for what is committed sends the batches all the same, and beside them a list of
// aborted transactions: who began each, at which offset. It ends with the
// producer's next abort marker.
// https://kafka.apache.org/documentation/#controlbatch
type aborted struct {
	list  []transaction      // by where they begin; those that begin behind the batch that is read
	begun map[int64]struct{} // producers that are in one there
}

type transaction struct{ producer, first int64 }

func (a *aborted) reset() {
	a.list = a.list[:0]
	clear(a.begun)
}

// read takes the list from an answer. Brokers need not keep it in order.
func (a *aborted) read(c *cursor, n int32) {
	list := cursor{b: c.take(16 * int64(n))}
	for len(list.b) > 0 {
		a.list = append(a.list, transaction{producer: list.int64(), first: list.int64()})
	}
	slices.SortFunc(a.list, func(t, u transaction) int { return cmp.Compare(t.first, u.first) })
}

// holds reports whether a batch's records are aborted. Batches come in order.
func (a *aborted) holds(h *header, body []byte) bool {
	for len(a.list) > 0 && a.list[0].first <= h.last {
		if a.begun == nil {
			a.begun = map[int64]struct{}{}
		}
		a.begun[a.list[0].producer] = struct{}{}
		a.list = a.list[1:]
	}
	if len(a.begun) == 0 {
		return false
	}
	if h.attributes&attrControl != 0 {
		if abortMarker(body) {
			delete(a.begun, h.producer)
		}
		return false
	}
	_, in := a.begun[h.producer]
	return in && h.attributes&attrTransaction != 0
}

// abortMarker reports whether a control batch says that a transaction was aborted:
// the key of its record is a version and a type, and the type is 0.
func abortMarker(body []byte) bool {
	c := cursor{b: body}
	r := cursor{b: c.text(), bad: c.bad}
	r.skip(1) // attributes, unused
	r.varint()
	r.varint32()
	key := r.text()
	return !r.bad && len(key) >= 4 && key[2] == 0 && key[3] == 0
}
