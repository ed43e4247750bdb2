package kafka

import (
	"cmp"
	"slices"
)

// aborted identifies the batches of one response that belong to aborted
// transactions; the log holds those like all others. A broker that is asked for
// committed records sends these batches all the same, together with a list of
// aborted transactions: the producer, and the first offset. A transaction ends with
// the producer's next abort marker.
// https://kafka.apache.org/documentation/#controlbatch
type aborted struct {
	list  []transaction      // by first offset; only those that begin after the current batch
	begun map[int64]struct{} // producers with an open aborted transaction there
}

type transaction struct{ producer, first int64 }

func (a *aborted) reset() {
	a.list = a.list[:0]
	clear(a.begun)
}

// read reads the list from a response. Brokers need not keep it in order.
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

// abortMarker reports whether a control batch aborts a transaction: the key of its
// record is a version and a type, and the type is 0.
func abortMarker(body []byte) bool {
	c := cursor{b: body}
	r := cursor{b: c.text(), bad: c.bad}
	r.skip(1) // attributes, unused
	r.varint()
	r.varint32()
	key := r.text()
	return !r.bad && len(key) >= 4 && key[2] == 0 && key[3] == 0
}
