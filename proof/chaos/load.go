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

// plan is what a load is a function of. The verifier knows nothing else of it.
type plan struct {
	Seed       uint64
	Start      int64   // Unix ms
	Rate       float64 // records a second, over all partitions
	Partitions int     // of the raw topic
	For        time.Duration
}

// Of every so many events, one is followed by something else.
const (
	garbageEvery = 100
	lateEvery    = 400
	repeatEvery  = 250

	farthestRepeat = 2000 // records between a record and its repeat
)

// content says what a record is.
type content uint8

const (
	good    content = iota
	garbage         // no decoder reads it
	repeat          // the bytes of a record before it
)

// record is one raw record of the load.
type record struct {
	at    int64 // Unix ms when it is due
	what  content
	key   []byte
	value []byte
}

// generator makes the records of one raw partition. Each partition is a tenant of
// its own, so that every entity keeps to one partition, and what detect finds
// does not depend on how partitions are interleaved.
type generator struct {
	tenant  string
	world   *population.Population
	rng     *rand.Rand
	made    int64 // records so far
	extra   int64 // numbers of garbage and late events
	repeats map[int64]record
	late    event.Event
	end     int64 // Unix ms, after which the seed has nothing to say
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

// innocentShare is the part of the load that attacks nobody.
const innocentShare = 0.85

// launch has a new campaign of the next kind begin every one and a half seconds.
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
// How the time is cut into calls makes no difference.
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
	})
}

// last is a time after which nothing was sent.
func (g *generator) last() int64 { return g.end + sendTime.Milliseconds() }

// emit passes a record on, may have it repeated some time later, and passes on
// the repeat that is due now.
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

// latePrefix begins the accounts of late events, and lateNet their addresses.
// Nobody else has them: what becomes of an event that is nearly too late hangs
// on how far the watermark is, so only these entities may differ from run to
// run.
const (
	latePrefix = "late-"
	lateNet    = "192.0.2."
)

// tardy is a failed sign-in that is reported minutes after it happened.
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

// rubbish is a record that no decoder should read. None is like another.
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
		return []byte(text + ",\"gateway\":\"\xc3\x28\"}") // what the gateway makes; a client's text would be kept
	case 7:
		return []byte(text + `,"status":70000}`)
	}
	return []byte(text + "}" + text + "}")
}
