package oracle

import (
	"slices"
	"strings"

	"github.com/weirdev/weir/detectors"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/rules"
)

// recorder is the state of one rule for the requests of one entity, as described in
// docs/detectors/replay.md.
type recorder struct {
	rule   *detectors.Replay
	weight uint8 // of the last firing
	lastAt int64

	nonces  []*used       // in order of arrival
	gaveWay []int64       // first uses of evicted nonces
	marks   []replaySight // in order of arrival

	clock            []int64 // learned offsets, the last first
	run              []int64 // waiting offsets
	runClient        int64   // client's time in the run
	ticked           bool    // there was an event with a client's time
	latest, latestBy int64   // its time, and that of the client
}

type used struct {
	nonce, request, client string
	first                  int64
	retries                int
	gotThrough             bool
}

type replaySight struct {
	sign detectors.ReplaySign
	at   int64
}

func (r *recorder) change(s rules.Spec) {
	r.rule = s.(*detectors.Replay)
	for len(r.nonces) > r.rule.Nonces {
		r.giveWay()
	}
	r.thin()
}

// giveWay evicts the nonce with the oldest first use.
func (r *recorder) giveWay() int64 {
	goes := slices.MinFunc(r.nonces, func(a, b *used) int { return int(a.first - b.first) })
	r.nonces = slices.DeleteFunc(r.nonces, func(u *used) bool { return u == goes })
	r.gaveWay = append(r.gaveWay, goes.first)
	return goes.first
}

// thin keeps as many marks of each sign as the largest tier asks for.
func (r *recorder) thin() {
	most := 0
	for _, t := range r.rule.Tiers {
		most = max(most, t.At)
	}
	for again := true; again; {
		again = false
		for _, m := range r.marks {
			of := slices.DeleteFunc(slices.Clone(r.marks), func(o replaySight) bool { return o.sign != m.sign })
			if len(of) <= most {
				continue
			}
			goes := slices.MinFunc(of, func(a, b replaySight) int { return int(a.at - b.at) })
			i := slices.Index(r.marks, goes)
			r.marks, again = slices.Delete(r.marks, i, i+1), true
			break
		}
	}
}

func (r *recorder) arrive(a arrival) (*firing, bool) {
	e := a.event
	nonce, clientTime := strings.Clone(e.Text(event.Nonce)), e.Num(event.ClientTime)
	if nonce == "" && clientTime == 0 {
		return nil, false
	}
	if a.watermark != facet.NoWatermark {
		r.forget(a.watermark - a.lateness)
	}
	var seen []detectors.ReplaySign
	see := func(s detectors.ReplaySign) {
		seen = append(seen, s)
		r.marks = append(r.marks, replaySight{s, a.time})
		r.thin()
	}
	elapsed, known := r.use(a, nonce, see)
	if !known && clientTime != 0 && e.Num(event.Skewed) == 0 {
		r.tick(clientTime, a.time, see)
	}
	if len(seen) == 0 {
		return nil, false
	}
	return r.fire(seen, a.time, elapsed), true
}

func (r *recorder) forget(onTime int64) {
	oldest := onTime - r.rule.Window.Milliseconds()
	r.nonces = slices.DeleteFunc(r.nonces, func(u *used) bool { return u.first <= oldest })
	r.marks = slices.DeleteFunc(r.marks, func(m replaySight) bool { return m.at <= oldest })
	if r.ticked && r.latest <= onTime-r.rule.Memory.Milliseconds() {
		r.clock, r.run, r.ticked = nil, nil, false
	}
}

// use records a nonce, and returns whether it was used before, and how long ago.
func (r *recorder) use(a arrival, nonce string, see func(detectors.ReplaySign)) (elapsed int64, known bool) {
	if nonce == "" {
		return 0, false
	}
	e, grace := a.event, r.rule.Grace.Milliseconds()
	client := e.Text(event.JA4) + "|" + numbersOfAgent.ReplaceAllString(e.Text(event.UserAgent), "")
	if client == "|" {
		client = ""
	}
	here := &used{nonce: nonce, request: strings.Clone(e.Text(event.RequestID)), client: client, first: a.time}
	here.gotThrough = e.Num(event.Status)/100 == 2
	i := slices.IndexFunc(r.nonces, func(u *used) bool { return u.nonce == nonce })
	if i >= 0 {
		u := r.nonces[i]
		elapsed = a.time - u.first
		if elapsed < 0 {
			elapsed = -elapsed
		}
		if elapsed >= r.rule.Window.Milliseconds() {
			r.nonces[i] = here
			return 0, false
		}
		switch soon := elapsed <= grace; {
		case soon && here.request != "" && here.request == u.request:
		case soon && u.retries < r.rule.Retries && !unequal(here.client, u.client):
			u.retries++
			if u.gotThrough && !slices.Contains([]string{"", "GET", "HEAD", "OPTIONS"}, e.Text(event.Method)) {
				see(detectors.Repeated)
			}
		default:
			see(detectors.ReusedNonce)
		}
		u.first = min(u.first, a.time)
		u.gotThrough = u.gotThrough || here.gotThrough
		return elapsed, true
	}
	r.nonces = append(r.nonces, here)
	if len(r.nonces) > r.rule.Nonces {
		if a.time-r.giveWay() < r.rule.Room.Milliseconds() {
			see(detectors.NonceFlood)
		}
	}
	return 0, false
}

func (r *recorder) tick(client, now int64, see func(detectors.ReplaySign)) {
	skew := r.rule.Skew.Milliseconds()
	if !r.ticked || now >= r.latest {
		back := r.ticked && r.latestBy-client > skew
		r.ticked, r.latest, r.latestBy = true, now, client
		if back {
			see(detectors.Backwards)
		}
	}
	offset := client - now
	near := func(to int64) bool { return offset-to <= skew && to-offset <= skew }
	learn := func() {
		r.clock = slices.Insert(r.clock, 0, offset)
		r.clock = r.clock[:min(len(r.clock), 9)]
	}
	endRun := func() {
		for range r.run {
			see(detectors.WrongClock)
		}
		r.run = nil
	}
	switch {
	case len(r.clock) < r.rule.Learn:
		learn()
	case near(r.median()):
		endRun()
		learn()
	default:
		if len(r.run) > 0 && !(client > r.runClient && near(r.run[0])) {
			endRun()
		}
		r.run, r.runClient = append(r.run, offset), client
		if len(r.run) >= r.rule.Learn {
			r.clock = slices.Repeat([]int64{offset}, len(r.run))
			r.run = nil
		}
	}
}

func (r *recorder) median() int64 {
	sorted := slices.Sorted(slices.Values(r.clock))
	return sorted[(len(sorted)-1)/2]
}

func (r *recorder) fire(seen []detectors.ReplaySign, at, elapsed int64) *firing {
	window := r.rule.Window.Milliseconds()
	for i, t := range slices.Backward(r.rule.Tiers) {
		n := 0
		for _, m := range r.marks {
			if m.sign == t.Sign && m.at <= at && at-m.at < window {
				n++
			}
		}
		if !slices.Contains(seen, t.Sign) || n < t.At {
			continue
		}
		if t.Weight <= r.weight && at-r.lastAt < r.rule.Cooldown.Milliseconds() {
			return nil
		}
		r.weight, r.lastAt = t.Weight, at
		complete := window
		for _, gone := range r.gaveWay {
			complete = min(complete, max(at-gone, 0))
		}
		f := &firing{tier: i, weight: t.Weight, evidence: []facet.Evidence{
			facet.Text("sign", t.Sign.String()), facet.Number("count", int64(n)), facet.Number("threshold", int64(t.At)),
			facet.Number("nonces", int64(len(r.nonces))), facet.Number("complete_ms", complete),
		}}
		if len(r.clock) >= r.rule.Learn {
			f.evidence = append(f.evidence, facet.Number("clock_ms", r.median()))
		}
		if slices.Contains(seen, detectors.ReusedNonce) {
			f.evidence = append(f.evidence, facet.Number("elapsed_ms", elapsed))
		}
		return f
	}
	return nil
}
