package oracle

import (
	"regexp"
	"slices"
	"strings"

	"github.com/weirdev/weir/detectors"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
)

// wallet is the state of one rule for the uses of one token, as described in
// docs/detectors/token_theft.md.
type wallet struct {
	rule   *detectors.TokenTheft
	hasher facet.Hasher

	uses   []*handling // in the order in which they were first seen
	weight uint8       // of the last firing
	lastAt int64
}

// look holds an event's data about its sender.
type look struct {
	device, key, ja4, agent, net string
	asn                          int64
}

// handling is a use: all events with one look.
type handling struct {
	look
	first, last, offset int64
	source              int32
	token               string
	events              int
}

var numbersOfAgent = regexp.MustCompile(`[0-9._]`)

func (w *wallet) change(s rules.Spec) {
	w.rule = s.(*detectors.TokenTheft)
	w.cut()
}

// cut forgets the uses that exceed the bound.
func (w *wallet) cut() {
	for len(w.uses) > w.rule.Uses {
		goes := slices.MinFunc(w.uses, func(a, b *handling) int { return int(a.last - b.last) })
		w.uses = slices.DeleteFunc(w.uses, func(u *handling) bool { return u == goes })
	}
}

func lookOf(e *event.Event) look {
	return look{
		device: strings.Clone(e.Text(event.Device)), key: strings.Clone(e.Text(event.KeyID)), ja4: strings.Clone(e.Text(event.JA4)),
		agent: numbersOfAgent.ReplaceAllString(e.Text(event.UserAgent), ""), net: strings.Clone(e.Text(event.Net)), asn: e.Num(event.ASN),
	}
}

func (w *wallet) arrive(a arrival) (*firing, bool) {
	e, seen := a.event, lookOf(a.event)
	if seen == (look{asn: seen.asn}) {
		return nil, false
	}
	if a.watermark != facet.NoWatermark {
		closed := a.watermark - a.lateness - w.rule.Memory.Milliseconds()
		w.uses = slices.DeleteFunc(w.uses, func(u *handling) bool { return u.last <= closed })
	}
	own := w.add(seen, a)
	f := w.fire(own, e.Text(event.Token), a.time)
	w.cut()
	return f, true
}

// add adds the event to its use.
func (w *wallet) add(seen look, a arrival) *handling {
	i := slices.IndexFunc(w.uses, func(u *handling) bool { return u.look == seen })
	if i < 0 {
		i = len(w.uses)
		w.uses = append(w.uses, &handling{look: seen, first: a.time, last: a.time})
	}
	u := w.uses[i]
	u.events++
	u.first = min(u.first, a.time)
	if a.time >= u.last {
		u.last, u.offset, u.source, u.token = a.time, a.offset, a.source, strings.Clone(a.event.Text(event.Token))
	}
	return u
}

func unequal(a, b string) bool { return a != "" && b != "" && a != b }

// apart reports whether two uses certainly share neither a network nor a client.
func apart(a, b *handling) bool {
	bothOrNeither := (a.key == "") == (b.key == "")
	sameOperator := bothOrNeither && a.asn != 0 && a.asn == b.asn
	return unequal(a.net, b.net) && !sameOperator && (unequal(a.ja4, b.ja4) || unequal(a.agent, b.agent))
}

func (w *wallet) those(hold func(*handling) bool) (all []*handling) {
	for _, u := range w.uses {
		if hold(u) {
			all = append(all, u)
		}
	}
	return all
}

// tookTurns reports whether the spans of two sets overlap.
func tookTurns(a, b []*handling) bool {
	began := func(all []*handling) int64 {
		return slices.MinFunc(all, func(a, b *handling) int { return int(a.first - b.first) }).first
	}
	ended := func(all []*handling) int64 {
		return slices.MaxFunc(all, func(a, b *handling) int { return int(a.last - b.last) }).last
	}
	return began(a) <= ended(b) && began(b) <= ended(a)
}

// shows lists the uses that show a sign together with an event of use own, which had
// token.
func (w *wallet) shows(sign detectors.TheftSign, own *handling, token string) []*handling {
	foreign := w.those(func(u *handling) bool { return unequal(u.device, own.device) })
	mine := w.those(func(u *handling) bool { return u.device == own.device })
	switch sign {
	case detectors.OtherDevice:
		return foreign
	case detectors.Stranger:
		for _, a := range mine {
			for _, b := range foreign {
				if !apart(a, b) {
					return nil
				}
			}
		}
		return foreign
	case detectors.TwoDevices:
		return slices.DeleteFunc(foreign, func(u *handling) bool {
			return !tookTurns(mine, w.those(func(o *handling) bool { return o.device == u.device }))
		})
	case detectors.OtherKey:
		of := func(key string) []*handling { return w.those(func(o *handling) bool { return o.key == key }) }
		return w.those(func(u *handling) bool {
			if !unequal(u.key, own.key) {
				return false
			}
			if tookTurns(of(own.key), of(u.key)) {
				return true
			}
			return token != "" && token == u.token && !updated(of(own.key), of(u.key))
		})
	case detectors.OtherSoftware:
		return w.strangers(own)
	}
	panic("oracle: there is no such sign")
}

// updated reports whether one app on one device, at one place, has changed its key.
func updated(a, b []*handling) bool {
	return slices.ContainsFunc(a, func(x *handling) bool {
		return slices.ContainsFunc(b, func(y *handling) bool {
			there := x.net != "" && y.net != "" && (x.net == y.net || x.asn != 0 && x.asn == y.asn)
			client := x.ja4 == y.ja4 && x.agent == y.agent && (x.ja4 != "" || x.agent != "")
			return there && client && x.device != "" && x.device == y.device
		})
	})
}

// strangers lists the uses outside own's party, if the two alternated.
func (w *wallet) strangers(own *handling) []*handling {
	party, rest := []*handling{own}, w.those(func(u *handling) bool { return u != own && !unequal(u.device, own.device) })
	for i := 0; i < len(party); i++ {
		rest = slices.DeleteFunc(rest, func(u *handling) bool {
			if apart(u, party[i]) {
				return false
			}
			party = append(party, u)
			return true
		})
	}
	events := func(all []*handling) (n int) {
		for _, u := range all {
			n += u.events
		}
		return n
	}
	if len(rest) == 0 || !tookTurns(party, rest) || events(party) < w.rule.Least || events(rest) < w.rule.Least {
		return nil
	}
	return rest
}

func (w *wallet) fire(own *handling, token string, at int64) *firing {
	for tier, t := range slices.Backward(w.rule.Tiers) {
		shown := w.shows(t.Sign, own, token)
		if len(shown) == 0 {
			continue
		}
		if t.Weight <= w.weight && at-w.lastAt < w.rule.Cooldown.Milliseconds() {
			return nil
		}
		w.weight, w.lastAt = t.Weight, at
		other := slices.MaxFunc(shown, func(a, b *handling) int { return int(a.last - b.last) })
		elapsed := at - other.last
		if elapsed < 0 {
			elapsed = -elapsed
		}
		number := func(name string, of func(*handling) string) facet.Evidence {
			values := map[string]bool{}
			for _, u := range w.uses {
				if v := of(u); v != "" {
					values[v] = true
				}
			}
			return facet.Number(name, int64(len(values)))
		}
		return &firing{tier: tier, weight: t.Weight, evidence: []facet.Evidence{
			number("devices", func(u *handling) string { return u.device }),
			number("keys", func(u *handling) string { return u.key }),
			number("networks", func(u *handling) string { return u.net }),
			facet.Number("uses", int64(len(w.uses))),
			facet.Text("sign", t.Sign.String()),
			facet.EventAt("other_event", other.source, other.offset, other.last),
			facet.Number("elapsed_ms", elapsed),
		}}
	}
	return nil
}
