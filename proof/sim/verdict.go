package sim

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/weirdev/weir/engine"
	"github.com/weirdev/weir/ingest"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/kafka"
	"github.com/weirdev/weir/score"
)

// verdict compares the final contents of a world with the expectation from the load
// alone, and the results of detect with the expectation from the facet log alone.
type verdict struct {
	*world

	facets                    int64             // facets that ingest should have emitted
	live, watched             ledTo             // signals of the live rules, and of the shadow rules
	looped, heard             map[wire][]string // loop-back frames that follow from the log, and those found in it
	plainSignals, plainScores []string
}

// ledTo are signals that follow from the facet log, by id.
type ledTo struct {
	texts map[string]map[string]bool // under any rulebook
	due   map[string]bool            // those that were committed
}

func newLedTo() ledTo { return ledTo{map[string]map[string]bool{}, map[string]bool{}} }

// wire is a loop-back connection.
type wire struct{ from, to int32 }

func (v *verdict) judge() {
	v.judgeEvents()
	v.judgeControls()
	v.judgeDead()
	v.judgeFacets()
	v.judgeDetect()
	v.judgeSignalLog()
}

// judgeEvents checks that each record is an event, a dead letter or a repeat, and
// that the table holds exactly the events.
func (v *verdict) judgeEvents() {
	expected := map[fate]int64{}
	for i := range v.load.records {
		s := &v.load.records[i]
		expected[s.fate]++
		s.epoch = v.under(s)
		if s.fate == isEvent {
			v.facets += int64(len(s.keys(s.epoch)))
		}
		at := place{s.partition, s.offset}
		row, stored := v.world.events[at]
		if should := s.fate == isEvent || s.fate == isRefused; should != stored {
			v.problem("record %v, %q: stored %v, want %v", at, s.value, stored, should)
			continue
		}
		if stored {
			v.judgeRow(s, row)
		}
	}
	if n := int64(len(v.world.events)); n != expected[isEvent]+expected[isRefused] {
		v.problem("the table of events has %d rows, want %d", n, expected[isEvent]+expected[isRefused])
	}
	l := v.ingestLedger()
	for _, c := range []struct {
		what      string
		got, want int64
	}{
		{"fetched", l.Fetched, int64(len(v.load.records))}, {"accepted", l.Accepted, expected[isEvent] + expected[isRefused]},
		{"sum", l.Sum(), l.Fetched}, {"repeat", l.Repeat, expected[isRepeat]},
		{"dead", l.Dead, expected[isDead]}, {"control", l.Control, expected[isEnd] + expected[isAborted]}, {"skipped", l.Skipped, expected[isSkipped]}, {"refused", l.Refused, expected[isRefused]}, {"facets", l.Facets, v.facets},
	} {
		if c.got != c.want {
			v.problem("ledger of ingest: %s %d, want %d", c.what, c.got, c.want)
		}
	}
}

func (v *verdict) judgeRow(s *sent, row eventRow) {
	for name, want := range map[string]string{"id": s.id, "account": s.account, "client_ip": s.address(s.epoch), "auth": s.auth, "decision": s.decision, "decision_action": s.action} {
		if want != "" && !strings.Contains(row.content, name+"="+want+" ") {
			v.problem("event %s is stored as %s; %s should be %s", s.id, row.content, name, want)
		}
	}
	want := s.time(v.appended(s))
	if v.plan.History {
		want = s.claimed
	}
	if marked := strings.Contains(row.content, "delayed=1 "); marked != v.delayed(s) && (marked || v.plan.Appended) {
		v.problem("event %s, which claims %d and came at %d, is stored as %s", s.id, s.claimed, v.appended(s), row.content)
	}
	if (v.plan.Appended || v.plan.History) && !strings.Contains(row.content, fmt.Sprintf("time=%d ", want)) {
		v.problem("event %s, which claims %d, is stored as %s, want %d", s.id, s.claimed, row.content, want)
	}
	claimed := strings.Contains(row.content, fmt.Sprintf("time=%d ", s.claimed))
	if skewed := strings.Contains(row.content, "skewed=1 "); skewed == claimed || s.plain && skewed {
		v.problem("event %s, which claims %d, is stored as %s", s.id, s.claimed, row.content)
	}
}

// appended returns when a record was appended, Unix ms.
func (v *verdict) appended(s *sent) int64 {
	return v.topics[topicRaw][s.partition].records[s.offset].Time
}

// delayed reports whether an event is marked as delayed, given its append time.
func (v *verdict) delayed(s *sent) bool { return !v.plan.History && s.delayed(v.appended(s)) }

func (v *verdict) ingestLedger() (sum ingest.Ledger) {
	for _, c := range v.groups[groupIngest].commits {
		p, err := ingest.ParseProgress(c.Metadata)
		if err != nil {
			v.problem("%v", err)
		}
		sum = sum.Plus(p.Ledger)
	}
	return sum
}

// judgeDead checks that each unreadable record is in the dead-letter topic, with a
// reason, under one key, and no more often than allowed; and the same for each
// unreadable range.
func (v *verdict) judgeDead() {
	letters := map[string]string{}
	skipped := map[place]bool{}
	for _, p := range v.topics[topicDead] {
		for _, r := range p.records {
			text := deadText(r)
			if old, known := letters[string(r.Key)]; known && old != text {
				v.problem("dead letter %s is written as %s and as %s", r.Key, old, text)
			}
			letters[string(r.Key)] = text
		}
	}
	for key, text := range letters {
		var from place
		var to int64
		if n, _ := fmt.Sscanf(text, "unreadable until %d", &to); n == 0 {
			continue
		}
		if _, err := fmt.Sscanf(key, "%d-%d", &from.partition, &from.offset); err != nil {
			v.problem("dead letter %s: %v", key, err)
		}
		for ; from.offset < to; from.offset++ {
			skipped[from] = true
		}
		delete(letters, key)
	}
	n := 0
	for i := range v.load.records {
		s := &v.load.records[i]
		if at := (place{s.partition, s.offset}); skipped[at] != (s.fate == isSkipped) {
			v.problem("record %v is in a range that is passed over: %v, want %v", at, skipped[at], s.fate == isSkipped)
		}
		if s.fate != isDead {
			continue
		}
		n++
		text := letters[fmt.Sprintf("%d-%d", s.partition, s.offset)]
		reason, value, _ := strings.Cut(text, "|")
		if reason == "" || value != string(s.value) {
			v.problem("record %d/%d, %q, has the dead letter %q", s.partition, s.offset, s.value, text)
		}
	}
	for i := range v.load.controls {
		if o := &v.load.controls[i]; o.fate == isDead {
			n++
			if text := letters[fmt.Sprintf("controls-0-%d", i)]; text != "control|"+string(o.value) {
				v.problem("control record %d, %s, has the dead letter %q", i, o.value, text)
			}
		}
	}
	if len(letters) != n {
		v.problem("%d dead letters, want %d", len(letters), n)
	}
	v.judgeLetters(letters, skipped)
	v.counts["skipped"] += len(skipped)
}

// judgeLetters checks that the table of dead letters holds what the topic holds: letters
// by key, and the offsets that are passed over.
func (v *verdict) judgeLetters(letters map[string]string, skipped map[place]bool) {
	rows, passed := map[string]bool{}, map[place]bool{}
	for at, row := range v.world.letters {
		if row.until > 0 {
			for i := at.offset; i < row.until; i++ {
				passed[place{at.partition, i}] = true
			}
			continue
		}
		key := fmt.Sprintf("%d-%d", at.partition, at.offset)
		if at.partition == int32(v.plan.Raw) {
			key = fmt.Sprintf("controls-0-%d", at.offset)
		}
		if rows[key] = true; letters[key] != row.text {
			v.problem("dead letter %s is %q in the table, and %q in the topic", key, row.text, letters[key])
		}
	}
	for key := range letters {
		if !rows[key] {
			v.problem("dead letter %s is not in the table", key)
		}
	}
	if !maps.Equal(passed, skipped) {
		v.problem("the table says that %d records are passed over, the topic %d", len(passed), len(skipped))
	}
}

func deadText(r kafka.Record) (text string) {
	for _, h := range r.Headers {
		switch h.Key {
		case ingest.HeaderReason:
			text = string(h.Value) + text
		case ingest.HeaderUntil:
			text += " until " + string(h.Value)
		}
	}
	return text + "|" + string(r.Value)
}

// judgeFacets checks by the audit that each event counts once for each of its
// entities, in the entity's partition, and that every partition knows the progress
// of each source.
func (v *verdict) judgeFacets() {
	v.heard = map[wire][]string{}
	for n, p := range v.topics[topicFacets] {
		a, err := auditOf(p.records, v.plan)
		if err != nil {
			v.problem("facets/%d: %v", n, err)
			return
		}
		v.judgeCounted(int32(n), a)
		v.judgeObeyed(int32(n), a)
		for i, src := range a.sources {
			if end := slices.Concat(v.topics[topicRaw], v.topics[topicControls])[i].end(); src.next != end && (src.heard || end > 0) {
				v.problem("facets/%d: raw partition %d is covered up to %d of %d", n, i, src.next, end)
			}
		}
		committed, ok, err := engine.ParseProgress(v.groups[groupDetect].commits[n].Metadata)
		for from, c := range a.loopback {
			v.heard[wire{from, int32(n)}] = c.frames
		}
		want := a.totals()
		want.Told, want.Said = committed.Ledger.Told, committed.Ledger.Said // see replay
		if err != nil || ok && committed.Ledger != want || !ok && p.end() > 0 {
			v.problem("facets/%d: ledger of detect %+v (%v, %v), want %+v", n, committed.Ledger, ok, err, want)
		}
		v.facets -= a.applied
		v.counts["late"] += int(a.late)
		v.counts["loop-back again"] += int(a.again)
		v.counts["duplicate"] += int(a.duplicate)
		v.counts["outdated"] += int(a.outdated)
	}
	if v.facets != 0 {
		v.problem("%d facets that should count do not", v.facets)
	}
}

// judgeCounted compares the facets that count in a partition with the load.
func (v *verdict) judgeCounted(n int32, a *audit) {
	found := 0
	for i := range v.load.records {
		s := &v.load.records[i]
		if s.fate != isEvent {
			continue
		}
		for kind, key := range s.keys(s.epoch) {
			if facet.Partition(v.hasher.Sum(facet.Entity{Kind: kind, Key: key}), v.plan.Facets) != n {
				continue
			}
			text := a.facets[facetPlace{place{s.partition, s.offset}, kind}]
			if s.plain && v.plan.Pinned && strings.HasSuffix(text, " late") {
				v.problem("event %s counts as late", s.id)
			}
			if v.plan.Appended && v.delayed(s) && s.epoch != epochNets && !strings.HasSuffix(text, " late") {
				v.problem("event %s came too late, and counts as %q", s.id, text)
			}
			if !strings.HasPrefix(text, key+" auth="+s.auth+" epoch="+v.epochs[s.epoch].Name[:16]+" ") || s.plain && !strings.Contains(text, fmt.Sprintf(" time=%d ", s.claimed)) {
				v.problem("event %s of %s counts as %q", s.id, key, text)
			}
			found++
		}
	}
	if found != len(a.facets) {
		v.problem("facets/%d: %d facets count, want %d", n, len(a.facets), found)
	}
}

// judgeDetect checks that the signals and scores are those of a partition that reads
// the facet log once from its beginning, under the rules of its owners.
func (v *verdict) judgeDetect() {
	v.live, v.watched, v.looped = newLedTo(), newLedTo(), map[wire][]string{}
	for n, p := range v.topics[topicFacets] {
		for _, c := range v.books[int32(n)] {
			if err := v.replay(int32(n), p, c); err != nil {
				v.problem("facets/%d under %v: %v", n, c, err)
				return
			}
		}
	}
	v.known("the table of signals", v.signals, v.live)
	v.known("the table of shadow signals", v.shadow, v.watched)
	v.judgeLoopback()
	v.counts["signal"] += len(v.live.texts)
	slices.Sort(v.plainSignals)
	slices.Sort(v.plainScores)
}

// replay reads a partition's log under a rulebook. With that of the latest owner,
// the result must match Redis and the commits.
func (v *verdict) replay(n int32, p *partition, c rulebook) error {
	var out engine.Output
	latest := map[facet.Entity]score.Update{}
	a := newAudit(v.plan)
	read, err := v.reading(n, c)
	if err != nil {
		return err
	}
	for _, r := range p.records {
		v.judgeSnapshot(read.engine, c, object{n, r.Offset})
		v.judgeLedgers(read.engine, c, object{n, r.Offset})
		if err := errors.Join(read.turn(r.Offset), read.apply(r, &out)); err != nil {
			return err
		}
		err := v.told(a, n, out.Loopback)
		if got := read.engine.Ledger().Total(); errors.Join(err, a.frame(r.Value)) != nil || got != a.totals() {
			return fmt.Errorf("by record %d the ledger is %+v, want %+v (%v)", r.Offset, got, a.totals(), err)
		}
		for i := range out.Signals {
			v.expect(v.live, n, c, r.Offset, &out.Signals[i])
			v.plainSignal(out.Signals[i])
		}
		for i := range out.Shadow {
			v.expect(v.watched, n, c, r.Offset, &out.Shadow[i])
		}
		for _, u := range out.Updates {
			latest[u.Entity] = u
		}
	}
	v.judgeSnapshot(read.engine, c, object{n, p.end()})
	v.judgeLedgers(read.engine, c, object{n, p.end()})
	if err := read.turn(p.end()); err != nil {
		return err
	}
	if !slices.Equal(c, v.last[n]) {
		return nil
	}
	return v.judgeEnd(n, a, read.engine, latest)
}

// expect records a signal that follows from a record under a rulebook. It must be
// present if an owner with that rulebook committed it.
func (v *verdict) expect(l ledTo, n int32, c rulebook, offset int64, s *score.Signal) {
	id := s.ID()
	if l.texts[id] == nil {
		l.texts[id] = map[string]bool{}
	}
	l.texts[id][signalText(s)] = true
	v.counts["rule "+s.Rule]++
	i := slices.IndexFunc(v.reigns[n], func(r reign) bool { return r.to > offset })
	if i >= 0 && slices.Equal(v.reigns[n][i].rules, c) {
		l.due[id] = true
	}
}

// judgeEnd compares the final contents with the state of the latest owner.
func (v *verdict) judgeEnd(n int32, a *audit, fresh *engine.Partition, latest map[facet.Entity]score.Update) error {
	if committed, ok, err := engine.ParseProgress(v.groups[groupDetect].commits[n].Metadata); err != nil || ok && (committed.Ledger.Told != a.told || committed.Ledger.Said != a.said) {
		return fmt.Errorf("%d members are told of and %d verdicts said, want %d and %d (%w)", committed.Ledger.Told, committed.Ledger.Said, a.told, a.said, err)
	}
	v.counts["verdict"] += int(a.noted)
	for u := range fresh.Live {
		v.judgeScore(u, true)
		if plainEntity(u.Entity) && v.plan.Epochs < 2 {
			v.plainScores = append(v.plainScores, fmt.Sprintf("%v %+v", u.Entity, u.Contributions))
		}
	}
	if v.plan.Rules > 1 {
		return nil // an entry that is not live may come from other rules
	}
	for _, e := range slices.SortedFunc(maps.Keys(latest), func(a, b facet.Entity) int { return cmp.Compare(a.Key, b.Key) }) {
		v.judgeScore(latest[e], v.losses == 0)
	}
	return nil
}

// told records the loop-back caused by a record of a facet partition.
func (v *verdict) told(a *audit, from int32, frames []engine.LoopbackFrame) error {
	for _, l := range frames {
		members, verdicts, err := loopContent(l.Frame)
		if err != nil {
			return err
		}
		a.told += members
		a.said += verdicts
		at := wire{from, l.To}
		v.looped[at] = append(v.looped[at], string(l.Frame))
	}
	return nil
}

// judgeLoopback checks that the notices to group members that follow from the facet
// log are in it, once and in order. When rules change, frames of an owner that died
// before its commit may replace those of its successor.
func (v *verdict) judgeLoopback() {
	for from := range v.topics[topicFacets] {
		for to := range v.topics[topicFacets] {
			at := wire{int32(from), int32(to)}
			v.counts["loop-back"] += len(v.looped[at])
			if v.plan.Rules > 1 {
				for _, f := range v.heard[at] {
					if !slices.Contains(v.looped[at], f) {
						v.problem("from facets/%d to facets/%d a frame goes back that the log does not bring forth", from, to)
					}
				}
				continue
			}
			if !slices.Equal(v.looped[at], v.heard[at]) {
				v.problem("from facets/%d to facets/%d %d frames go back, want %d", from, to, len(v.heard[at]), len(v.looped[at]))
			}
		}
	}
}

// judgeSnapshot checks that a snapshot by any author is the state before its offset.
func (v *verdict) judgeSnapshot(fresh *engine.Partition, c rulebook, o object) {
	for _, written := range v.written[o] {
		if !slices.Equal(written.rules, c) {
			continue
		}
		v.counts["snapshot"]++
		want, err := fresh.Snapshot(o.next)
		if err != nil || !bytes.Equal(written.bytes, want) {
			v.problem("snapshot %v is not the state before its offset (%v)", o, err)
		}
	}
}

// judgeLedgers checks that the ledger named in a commit is that of the state before
// its offset.
func (v *verdict) judgeLedgers(fresh *engine.Partition, c rulebook, o object) {
	for _, r := range v.reigns[o.partition] {
		if r.to != o.next || !slices.Equal(r.rules, c) {
			continue
		}
		if p, ok, err := engine.ParseProgress(r.metadata); err != nil || ok && p.Ledger != fresh.Ledger().Total() {
			v.problem("the commit of facets/%v has the ledger %+v (%v), want %+v", o, p.Ledger, err, fresh.Ledger().Total())
		}
	}
}

// judgeScore compares a score with Redis. There it may be missing, or replaced by an
// older one that was written late, only if Redis lost it and it is worth nothing by
// now.
func (v *verdict) judgeScore(u score.Update, must bool) {
	row, ok := v.scores[u.Entity]
	if !must && (!ok || row.position.Less(u.Position)) {
		return
	}
	if v.plan.Rules > 1 && u.Position.Less(row.position) {
		return // from an owner with other rules that died before its commit
	}
	if !ok || row.position != u.Position || !slices.Equal(row.contributions, u.Contributions) || row.expires < score.Expires(u.Contributions) {
		v.problem("the score of %v is %+v in redis (%v), want %+v", u.Entity, row, ok, u)
	}
}

// plainSignal records a signal of an entity whose events' times do not depend on
// when they were read.
func (v *verdict) plainSignal(s score.Signal) {
	// The set of addresses depends on when the epoch changed, and so do the notices
	// to their members.
	if plainEntity(s.Entity) && (v.plan.Epochs < 2 || s.Rule == "failures") {
		s.Position = score.Position{}
		v.plainSignals = append(v.plainSignals, signalText(&s))
	}
}

func plainEntity(e facet.Entity) bool {
	return strings.HasPrefix(e.Key, "a") || strings.HasPrefix(e.Key, "192.0.")
}

// judgeSignalLog checks that it holds the same signals, each at least once.
func (v *verdict) judgeSignalLog() {
	log := map[string]string{}
	for _, p := range v.topics[topicSignals] {
		for _, r := range p.records {
			log[string(r.Key)] = string(r.Value)
		}
	}
	v.known("the signal log", log, v.live)
}

// known compares signals with those that follow from the log.
func (v *verdict) known(what string, got map[string]string, want ledTo) {
	for _, id := range slices.Sorted(maps.Keys(want.due)) {
		if got[id] == "" {
			v.problem("%s lacks %s, %v", what, id, want.texts[id])
		}
	}
	for _, id := range slices.Sorted(maps.Keys(got)) {
		if !want.texts[id][got[id]] {
			v.problem("%s has %s, want %v", what, got[id], want.texts[id])
		}
	}
}
