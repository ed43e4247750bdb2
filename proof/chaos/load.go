package chaos

import (
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/internal/population"
)

// plan determines a load completely. The verifier knows nothing else about it.
type plan struct {
	Seed       uint64
	Start      int64   // Unix ms
	Rate       float64 // records per second, over all partitions
	Partitions int     // of the raw topic
	For        time.Duration
}

// One in this many events is followed by something else.
const (
	garbageEvery = 100
	lateEvery    = 400
	repeatEvery  = 250

	farthestRepeat = 2000 // maximum number of records between a record and its repeat
)

// content is the kind of a record.
type content uint8

const (
	good    content = iota
	garbage         // unreadable for every decoder
	repeat          // the bytes of an earlier record
)

// record is one raw record of the load.
type record struct {
	at    int64 // Unix ms when it is due
	what  content
	key   []byte
	value []byte
}

// generator creates the records of one raw partition. Each partition is its own
// tenant, so that every entity stays in one partition, and the findings do not
// depend on how partitions are interleaved.
type generator struct {
	tenant  string
	world   *population.Population
	rng     *rand.Rand
	made    int64 // records so far
	extra   int64 // numbers of garbage and late events
	repeats map[int64]record
	late    event.Event
	end     int64 // Unix ms, end of the load
}

func (p plan) generator(partition int) *generator {
	s := &generator{
		tenant:  "t" + strconv.Itoa(partition),
		rng:     rand.New(rand.NewPCG(p.Seed, uint64(partition))),
		repeats: map[int64]record{},
		end:     p.Start + p.For.Milliseconds(),
	}
	rate := p.Rate / float64(p.Partitions)
	s.world = population.New(population.Config{
		Seed: p.Seed + uint64(partition)*7919, People: max(500, int(2*rate)), Rate: rate * innocentShare, Start: p.Start, Run: s.tenant,
	})
	p.launch(s.world, rate*(1-innocentShare))
	return s
}

// innocentShare is the part of the load without attacks.
const innocentShare = 0.85

// launch starts a new campaign of the next kind every one and a half seconds.
func (p plan) launch(w *population.Population, rate float64) {
	const every, length = 1500 * time.Millisecond, 6 * time.Second
	kinds := population.Kinds()
	each := rate * float64(every) / float64(length)
	for i := 0; time.Duration(i)*every < p.For; i++ {
		w.Launch(population.Campaign{
			Kind: kinds[i%len(kinds)], Start: p.Start + (time.Duration(i) * every).Milliseconds(), Duration: length,
			Addresses: 1 + int(each/20), Rate: max(each, 5),
		})
	}
}

// until calls emit for every record that is due before t (Unix ms), in order.
// Splitting the time into several calls makes no difference.
func (g *generator) until(t int64, emit func(record)) {
	g.world.Until(t, func(e *event.Event, _ int) {
		at := e.Num(event.Time)
		e.SetText(event.Tenant, g.tenant)
		g.emit(record{at: at, key: []byte(e.Text(event.ID)), value: e.AppendJSON(nil)}, emit)
		if g.rng.IntN(garbageEvery) == 0 {
			g.emit(record{at: at, what: garbage, value: g.rubbish()}, emit)
		}
		if g.rng.IntN(lateEvery) == 0 {
			g.emit(g.tardy(at), emit)
		}
		if g.rng.IntN(saidEvery) == 0 {
			g.emit(g.saidEvent(at), emit)
		}
	})
}

// last returns a time after which nothing was sent.
func (g *generator) last() int64 { return g.end + sendTime.Milliseconds() }

// emit passes a record on, may schedule a repeat of it, and passes on the repeat
// that is due now.
func (g *generator) emit(r record, emit func(record)) {
	emit(r)
	g.made++
	if r.what == good && g.rng.IntN(repeatEvery) == 0 {
		g.repeats[g.made+int64(g.rng.IntN(farthestRepeat))] = record{what: repeat, key: r.key, value: r.value}
	}
	if again, ok := g.repeats[g.made]; ok {
		delete(g.repeats, g.made)
		again.at = r.at
		emit(again)
	}
}

// latePrefix starts the accounts of late events, and lateNet their addresses. No
// other events have them. The outcome of an event that is nearly too late depends on
// the watermark, so only these entities may differ from run to run.
const (
	latePrefix = "late-"
	lateNet    = "192.0.2."
)

// tardy returns a failed sign-in that is reported minutes after it happened.
func (g *generator) tardy(at int64) record {
	g.extra++
	n := strconv.FormatInt(g.extra, 10)
	e := &g.late
	e.Reset()
	e.SetText(event.ID, g.tenant+"-late-"+n)
	e.SetNum(event.Time, at-int64(120_000+g.rng.IntN(300_000)))
	e.SetText(event.Tenant, g.tenant)
	e.SetText(event.Account, latePrefix+strconv.Itoa(g.rng.IntN(20)))
	e.SetText(event.IP, lateNet+strconv.Itoa(1+g.rng.IntN(200)))
	e.SetText(event.Method, "POST")
	e.SetText(event.Path, "/v1/login")
	e.SetText(event.Route, "/v1/login")
	e.SetNum(event.Status, 401)
	e.SetText(event.Auth, "failure")
	return record{at: at, key: []byte(e.Text(event.ID)), value: e.AppendJSON(nil)}
}

// rubbish returns a record that no decoder should read. No two are alike.
func (g *generator) rubbish() []byte {
	g.extra++
	n := fmt.Sprintf("%s-%d", g.tenant, g.extra)
	text := `{"id":"x` + n + `","time":"2026-11-23T00:00:00Z","account":"a"`
	switch g.rng.IntN(9) {
	case 0:
		return []byte(text)
	case 1:
		b := append([]byte{0xff}, n...)
		for range g.rng.IntN(300) {
			b = append(b, byte(g.rng.Uint32()))
		}
		return b
	case 2:
		return []byte(strings.Repeat(`{"a":`, 60) + `"` + n + `"` + strings.Repeat("}", 60))
	case 3:
		return []byte(`{"id":"` + n + strings.Repeat("x", 1000) + `"}`)
	case 4:
		return []byte(text + `,"account":"b"}`)
	case 5:
		return []byte(text + `,"Account":"b"}`)
	case 6:
		return []byte(text + ",\"gateway\":\"\xc3\x28\"}") // field written by the gateway; a client's text would be kept
	case 7:
		return []byte(text + `,"status":70000}`)
	}
	return []byte(text + "}" + text + "}")
}
