package sim

import (
	"fmt"
	"math/rand/v2"
	"slices"
	"time"

	"github.com/weirdev/weir/ingest"
	"github.com/weirdev/weir/internal/kafka"
)

// load is the output of the gateways, with all that may be expected of it: it alone
// determines what the tables must hold in the end.
type load struct {
	records    []sent
	controls   []ordered
	unreadable map[place]bool
	aborted    map[place]bool      // records that a transaction took back
	open       map[place]time.Time // records of an open transaction, with its end
}

// sent is one record as a gateway sends it.
type sent struct {
	at        time.Time
	partition int32
	offset    int64 // set when it is sent
	key       []byte
	value     []byte

	fate  fate
	plain bool // its time is neither late nor moved under any schedule
	epoch int  // under which it was read, according to the final commits

	until time.Time // end of its transaction; zero: not in a transaction

	id, account, ip, auth, decision, action string
	forwarded                               string // address named by the gateway; only if epochs differ
	claimed                                 int64  // Unix ms
}

// fate is the required outcome of a record.
type fate uint8

const (
	isEvent   fate = iota // in the table, with facets
	isRefused             // in the table, without facets
	isRepeat              // dropped
	isDead                // in the dead-letter topic
	isEnd                 // ends a history
	isSkipped             // unreadable; in a range that is one dead letter
	isAborted             // taken back by its transaction
)

func newLoad(plan Plan) *load {
	l := &load{unreadable: map[place]bool{}, aborted: map[place]bool{}, open: map[place]time.Time{}}
	r := rand.New(rand.NewPCG(plan.Seed, 3))
	for i := range plan.Events {
		l.send(plan, r, i)
	}
	slices.SortStableFunc(l.records, func(a, b sent) int { return a.at.Compare(b.at) })
	for n := range plan.Raw {
		if plan.History {
			l.records = append(l.records, sent{at: epoch.Add(plan.Span + 3*time.Second), partition: int32(n), fate: isEnd})
		}
	}
	for range plan.Unreadable {
		at := place{int32(r.IntN(plan.Raw)), r.Int64N(int64(plan.Events/plan.Raw + 1))}
		for range 1 + r.IntN(3) {
			l.unreadable[at] = true
			at.offset++
		}
	}
	l.settle()
	l.order(plan)
	return l
}

// send creates the nth record, and its repeats.
func (l *load) send(plan Plan, r *rand.Rand, n int) {
	s := sent{at: epoch.Add(time.Duration(r.Int64N(int64(plan.Span)))), partition: int32(r.IntN(plan.Raw)), plain: true}
	if r.IntN(12) == 0 {
		s.garbage(r, n)
	} else {
		s.event(plan, r, n)
	}
	if plan.Transactions && r.IntN(6) == 0 {
		l.transact(s, r)
	} else {
		l.records = append(l.records, s)
	}
	for n := 0; n < 3 && r.IntN(8) == 0; n++ { // an answer was lost
		s.at = s.at.Add(time.Duration(r.IntN(900)) * time.Millisecond)
		l.records = append(l.records, s)
	}
}

// transact sends a record in a transaction, which stays open for a while, and may be
// aborted.
func (l *load) transact(s sent, r *rand.Rand) {
	s.until = s.at.Add(time.Duration(r.IntN(2000)) * time.Millisecond)
	if r.IntN(20) == 0 {
		s.until = s.at.Add(20 * time.Second) // longer than the allowed lateness of events
	}
	if r.IntN(2) == 0 {
		s.fate = isAborted
	}
	l.records = append(l.records, s)
}

func (s *sent) garbage(r *rand.Rand, n int) {
	s.fate, s.key = isDead, fmt.Appendf(nil, "g%d", n)
	switch r.IntN(4) {
	case 0:
		s.value = fmt.Appendf(nil, `{"id":"g%d","time":17`, n)
	case 1:
		s.value = fmt.Appendf(nil, "\x00\xff garbage %d", n)
	case 2:
		s.value = fmt.Appendf(nil, `{"id":"g%d","account":"a"}`, n)
	}
}

func (s *sent) event(plan Plan, r *rand.Rand, n int) {
	home := int32(0)
	if plan.Pinned {
		home = s.partition
	}
	s.id, s.key = fmt.Sprintf("e%d", n), fmt.Appendf(nil, "e%d", n)
	s.account, s.ip = fmt.Sprintf("a%d-%d", home, r.IntN(3)), fmt.Sprintf("192.0.%d.%d", home, r.IntN(2))
	s.auth = "failure"
	if r.IntN(4) == 0 {
		s.auth = "success"
	}
	switch r.IntN(25) {
	case 0:
		s.fate, s.decision, s.action = isRefused, fmt.Sprintf("d%d", n), "deny"
	case 1, 2:
		s.decision, s.action = fmt.Sprintf("d%d", n), "allow"
	}
	s.claimed = s.at.Add(-time.Duration(r.IntN(700)) * time.Millisecond).UnixMilli()
	switch k := r.IntN(24); {
	case k < 2: // late
		s.claimed -= (5 * time.Minute).Milliseconds()
		s.odd("late")
	case k == 2: // older than allowed
		s.claimed -= (25 * time.Hour).Milliseconds()
		s.odd("old")
	case k == 3 && (plan.Appended || !plan.Pinned) && !plan.History: // from the future: makes others late unless its append time is known
		s.claimed += (2 * time.Hour).Milliseconds()
		s.odd("early")
	}
	s.value = fmt.Appendf(nil, `{"id":%q,"time":%d,"account":%q,"ip":%q,"auth":%q,"app_version":"%d"`, s.id, s.claimed, s.account, s.ip, s.auth, n%2)
	if plan.Epochs > 1 {
		s.forwarded = fmt.Sprintf("203.0.113.%d", r.IntN(4))
		s.value = fmt.Appendf(s.value, `,"forwarded_for":%q`, s.forwarded)
	}
	if s.decision != "" {
		s.value = fmt.Appendf(s.value, `,"decision":%q,"decision_action":%q`, s.decision, s.action)
	}
	s.value = append(s.value, '}')
}

// odd gives an event its own entities if its time depends on when it is read.
func (s *sent) odd(kind string) {
	s.plain = false
	s.account, s.ip = kind+"-"+s.account, "198.51"+s.ip[len("192.0"):]
}

// delayed reports whether the event counts as delayed, given that it was appended at
// appended.
func (s *sent) delayed(appended int64) bool {
	return s.claimed < appended-ingest.Defaults().MaxLate.Milliseconds()
}

// time returns the event's resulting time there.
func (s *sent) time(appended int64) int64 {
	if s.delayed(appended) && s.epoch == epochNets {
		return appended
	}
	return min(s.claimed, appended+ingest.Defaults().MaxFuture.Milliseconds())
}

// settle determines the position of each record, and which are repeats.
func (l *load) settle() {
	next := map[int32]int64{}
	seen := map[string]bool{}
	for i := range l.records {
		s := &l.records[i]
		s.offset = next[s.partition]
		next[s.partition]++
		switch {
		case s.fate == isEnd:
			delete(l.unreadable, place{s.partition, s.offset})
			continue
		case l.unreadable[place{s.partition, s.offset}]:
			s.fate = isSkipped
			continue
		case s.fate == isAborted:
			l.aborted[place{s.partition, s.offset}] = true
			l.open[place{s.partition, s.offset}] = s.until
			continue
		case s.fate != isDead && seen[s.id]:
			s.fate = isRepeat
		}
		seen[s.id] = true
		if !s.until.IsZero() {
			l.open[place{s.partition, s.offset}] = s.until
		}
	}
}

// stable returns the offset up to which a topic's partition with the given end can
// be read: an open transaction holds back everything after its beginning.
func (l *load) stable(topic string, partition int32, end int64) int64 {
	for at, until := range l.open {
		if topic == topicRaw && at.partition == partition && at.offset < end && until.After(time.Now()) {
			end = at.offset
		}
	}
	return end
}

// next returns the first readable offset from offset on, or end.
func (l *load) next(topic string, partition int32, offset, end int64) int64 {
	for topic == topicRaw && offset < end && l.unreadable[place{partition, offset}] {
		offset++
	}
	return offset
}

// gateways sends the next record that is due.
func (w *world) gateways(now time.Time) bool {
	if w.sent == len(w.load.records) || w.load.records[w.sent].at.After(now) {
		return false
	}
	s := w.load.records[w.sent]
	w.sent++
	o := kafka.Outgoing{Key: s.key, Value: s.value}
	if s.fate == isEnd {
		o.Headers = []kafka.Header{{Key: ingest.EndHeader}}
	}
	w.topics[topicRaw][s.partition].append([]kafka.Outgoing{o})
	return true
}
