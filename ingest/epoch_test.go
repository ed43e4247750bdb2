package ingest_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/event/format"
	"github.com/weirdev/weir/ingest"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/geo"
	"github.com/weirdev/weir/internal/watch"
)

// epochs is a store of epochs, and the present one of a worker.
type epochs struct {
	mu      sync.Mutex
	present *ingest.Epoch
	kept    map[string]*ingest.Epoch
	fails   error // of loads
	hangs   int   // so many loads are neither answered nor refused
	loads   int
	behind  error // of a worker that does not follow
}

func newEpochs(present *ingest.Epoch) *epochs {
	return &epochs{present: present, kept: map[string]*ingest.Epoch{present.Name: present}}
}

func (e *epochs) Present() *ingest.Epoch {
	e.mu.Lock()
	defer e.mu.Unlock()
	return e.present
}

// Follow does not wait long.
func (e *epochs) Follow(ctx context.Context, pushed int64) error {
	for e.Present().Pushed < pushed {
		if e.behind != nil {
			return e.behind
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(10 * time.Millisecond):
		}
	}
	return nil
}

func (e *epochs) Load(ctx context.Context, name string) (*ingest.Epoch, error) {
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.loads++; e.loads <= e.hangs {
		<-ctx.Done()
		return nil, ctx.Err()
	}
	if e.fails != nil {
		return nil, e.fails
	}
	if e.kept[name] == nil {
		return nil, fmt.Errorf("%w: there is no %s", ingest.ErrNoEpoch, name)
	}
	return e.kept[name], nil
}

// use makes an epoch the present one, and keeps it.
func (e *epochs) use(present *ingest.Epoch) {
	e.mu.Lock()
	defer e.mu.Unlock()
	e.present = present
	e.kept[present.Name] = present
}

func newEpoch(t *testing.T, cfg ingest.Config, p facet.Projection, places ingest.Places) *ingest.Epoch {
	t.Helper()
	e, err := ingest.NewManifest(cfg, p, nil).Epoch(places)
	if err != nil {
		t.Fatal(err)
	}
	return e
}

// country is where all addresses are.
type country string

func (c country) Lookup(_ netip.Addr, p *geo.Place) { *p = geo.Place{Country: string(c)} }

// distinct are epochs that differ in where all addresses are. A facet says by its
// country which of them it was made under.
func distinct(t *testing.T, countries ...string) (all []*ingest.Epoch) {
	t.Helper()
	var p facet.Projection
	p[facet.Account] = []event.Field{event.Auth, event.Country}
	for _, c := range countries {
		m := ingest.NewManifest(ingest.Defaults(), p, map[string]string{"City": c})
		e, err := m.Epoch(country(c))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, e)
	}
	return all
}

func from(id string) string {
	return strings.Replace(request(id, "ann"), "{", `{"ip":"192.0.2.1",`, 1)
}

// made reads the log as detect does, and returns the country of each facet that
// counts by its raw offset. It fails where one counts twice, and where a frame
// names another epoch than its facets are of.
func (w *world) made(t *testing.T, epochs ...*ingest.Epoch) map[int64]string {
	t.Helper()
	made := map[int64]string{}
	var r facet.Reader
	var f facet.Facet
	var next int64
	var owner uint64
	for _, frame := range w.frames {
		if err := r.Reset(frame); err != nil {
			t.Fatal(err)
		}
		name := ""
		for i, e := range epochs {
			if e.Name[:16] == fmt.Sprintf("%016x", r.Epoch) {
				name = strconv.Itoa(i)
			}
		}
		s, _, err := r.Section()
		if err != nil {
			t.Fatal(err)
		}
		if s.From > next {
			t.Errorf("a cover goes on at %d after %d", s.From, next)
		}
		for {
			ok, err := r.Facet(&f)
			if err != nil {
				t.Fatal(err)
			}
			if !ok {
				break
			}
			if f.Fields.Text(event.Country) != name {
				t.Errorf("the facet of %d is of %q, the frame of epoch %q", f.Offset, f.Fields.Text(event.Country), name)
			}
			if f.Offset >= next && s.Owner >= owner {
				made[f.Offset] = name
			}
		}
		if s.Owner >= owner {
			owner, next = s.Owner, max(next, s.To)
		}
	}
	return made
}

// promised is what the commits say that a record is read under: the epoch of the
// last one that is not behind it.
func (w *world) promised(t *testing.T, offset int64, epochs ...*ingest.Epoch) (name string) {
	t.Helper()
	for _, c := range w.commits {
		p, err := ingest.ParseProgress(c.Metadata)
		if err != nil {
			t.Fatal(err)
		}
		if c.Offset > offset {
			continue
		}
		for i, e := range epochs {
			if e.Name == p.Epoch {
				name = strconv.Itoa(i)
			}
		}
	}
	return name
}

// broken is the metric of epochs that could not be had.
func (w *world) broken(t *testing.T) float64 {
	t.Helper()
	return w.metric(t, "weir_ingest_broken_epochs_total")
}

// TestWhoeverTakesOverGoesOnUnderTheEpochOfTheCommit, wherever it and the owners
// before it died: each record is read under the epoch that commits say, however
// often, and the change is behind all that former owners may have read.
func TestWhoeverTakesOverGoesOnUnderTheEpochOfTheCommit(t *testing.T) {
	mixed, ends := 0, map[string]bool{}
	const second = 18 // effects until the second owner has changed the epoch, and some
	first := []int{0, 2, 3, 5, 8, -1}
	for lives := range len(first) * second {
		synctest.Test(t, func(t *testing.T) {
			w := newWorld()
			w.most = 4
			all := distinct(t, "0", "1", "2")
			w.epochs = newEpochs(all[0])
			n := 0
			send := func(count int) {
				for range count {
					w.send(from(fmt.Sprint(n)))
					n++
				}
			}
			for run, life := range []int{first[lives/second], lives % second, -1, -1} {
				if run < 3 {
					w.epochs.use(all[run])
				}
				send(10)
				w.mortal = life
				var gateways sync.WaitGroup
				gateways.Go(func() {
					time.Sleep(time.Second + time.Millisecond)
					send(6) // while it reads
				})
				end := w.end()
				before := len(w.commits)
				if _, err := w.run(t, 5*time.Second); err != nil && !errors.Is(err, errDied) {
					t.Fatal(err)
				}
				for _, c := range w.commits[before:] {
					p, err := ingest.ParseProgress(c.Metadata)
					if err != nil {
						t.Fatal(err)
					}
					if run > 0 && p.Epoch == w.epochs.Present().Name && c.Offset < end && !strings.Contains(fmt.Sprint(w.commits[:before]), p.Epoch) && before > 0 {
						t.Errorf("lives %d: the epoch changes at %d, and a former owner may have read up to %d", lives, c.Offset, end)
					}
				}
				gateways.Wait()
			}
			made := w.made(t, all...)
			if len(made) != n {
				t.Errorf("lives %d: %d records count, want %d", lives, len(made), n)
			}
			seen := map[string]bool{}
			for offset, name := range made {
				if want := w.promised(t, offset, all...); name != want {
					t.Errorf("lives %d: record %d was read under %s, the commits say %s", lives, offset, name, want)
				}
				seen[name] = true
			}
			if len(seen) > 1 {
				mixed++
			}
			ends[made[int64(n-1)]] = true
			if b := w.broken(t); b != 0 {
				t.Errorf("lives %d: %v broken epochs", lives, b)
			}
		})
	}
	if mixed < second || len(ends) != 1 || !ends["2"] {
		t.Errorf("%d runs with several epochs, which end under %v", mixed, ends)
	}
}

// interrupted is a world in which a worker wrote facets of 10 records under the
// first of two epochs, and died before it committed more than the first 0.
func interrupted(t *testing.T) (*world, []*ingest.Epoch) {
	t.Helper()
	all := distinct(t, "0", "1")
	w := newWorld()
	w.most = 4
	w.epochs = newEpochs(all[0])
	w.mortal = 4 // announcement, cover, facets and cover of the first fetch; not its commit
	for i := range 10 {
		w.send(from(fmt.Sprint(i)))
	}
	if _, err := w.run(t, 3*time.Second); !errors.Is(err, errDied) {
		t.Fatal(err)
	}
	w.mortal = -1
	w.epochs.use(all[1])
	return w, all
}

func (w *world) madeText(t *testing.T, all ...*ingest.Epoch) (text string) {
	t.Helper()
	made := w.made(t, all...)
	for o := range w.end() {
		text += made[o]
	}
	return text
}

// TestWhatAFormerOwnerWroteJustBeforeItWasFenced is below where the epoch may
// change, though the log did not reach that far when the take-over began.
func TestWhatAFormerOwnerWroteJustBeforeItWasFenced(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, all := interrupted(t)
		w.rival = func() { // the announcement is acknowledged, the covers are not
			for i := range 8 {
				w.send(from(fmt.Sprint("late", i)))
			}
			w.epochs.use(all[0])
			old, commits, mortal := w.commit, w.commits, w.mortal
			w.commit.Metadata, w.mortal = commits[0].Metadata, 8
			begin := len(w.frames)
			p, err := ingest.ParseProgress(commits[0].Metadata)
			if err != nil {
				t.Fatal(err)
			}
			p.Owner-- // the same process as before: it takes the same number again
			w.commit.Metadata = p.String()
			if _, err := w.run(t, 3*time.Second); err != nil && !errors.Is(err, errDied) {
				t.Fatal(err)
			}
			if len(w.frames) == begin {
				t.Fatal("it wrote nothing")
			}
			w.commit, w.commits, w.mortal = old, commits, mortal
			w.epochs.use(all[1])
		}
		if _, err := w.run(t, 3*time.Second); err != nil {
			t.Fatal(err)
		}
		w.send(from("z"))
		if _, err := w.run(t, 3*time.Second); err != nil {
			t.Fatal(err)
		}
		made := w.made(t, all...)
		for o := range w.end() {
			if want := w.promised(t, o, all...); made[o] != want {
				t.Errorf("record %d was read under %q, the commits say %s", o, made[o], want)
			}
		}
		if made[17] != "0" || made[18] != "1" {
			t.Errorf("read under %v", made)
		}
	})
}

// TestAnEpochThatCannotBeHadIsBrokenOnce: it is counted, and a commit says where
// the present one begins, so that nobody asks for the old one again.
func TestAnEpochThatCannotBeHadIsBrokenOnce(t *testing.T) {
	for life := range 6 {
		synctest.Test(t, func(t *testing.T) {
			w, all := interrupted(t)
			delete(w.epochs.kept, all[0].Name)
			w.mortal = life
			_, err := w.run(t, 3*time.Second)
			if !errors.Is(err, errDied) {
				t.Fatal(err)
			}
			w.mortal = -1
			broken := w.broken(t)
			w.epochs.kept[all[0].Name] = all[0] // found again; what was decided holds
			if _, err := w.run(t, 3*time.Second); err != nil {
				t.Fatal(err)
			}
			text := w.madeText(t, all...)
			for o := range w.end() {
				// What the first owner wrote counts as it is.
				if want := w.promised(t, o, all...); text[o:o+1] != want && o >= 4 {
					t.Errorf("life %d: record %d was read under %c, the commits say %s", life, o, text[o], want)
				}
			}
			// Announcement, cover and what changes the epoch: covers and a commit.
			if decided := life > 3; decided != (broken == 1 && text == "0000111111") || !decided && text != "0000000000" {
				t.Errorf("life %d: %v broken epochs; read under %s", life, broken, text)
			}
		})
	}
}

// TestAStoreThatDoesNotAnswerIsWaitedFor, and the partition is not taken for one
// that hangs.
func TestAStoreThatDoesNotAnswerIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, all := interrupted(t)
		w.epochs.fails = errors.New("connection refused")
		var err error
		if w.watch, err = watch.New(10 * time.Second); err != nil {
			t.Fatal(err)
		}
		stuck := make(chan error, 1)
		watching, stop := context.WithCancel(t.Context())
		go func() { stuck <- w.watch.Run(watching) }()
		if _, err := w.run(t, time.Minute); err == nil || !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "connection refused") {
			t.Errorf("told to stop, it says %v", err)
		}
		if got := w.madeText(t, all...); got != "0000" {
			t.Errorf("read under %s meanwhile", got)
		}
		go func() {
			time.Sleep(time.Minute)
			w.epochs.mu.Lock()
			w.epochs.fails = nil
			w.epochs.mu.Unlock()
		}()
		if _, err := w.run(t, 2*time.Minute); err != nil {
			t.Fatal(err)
		}
		if got := w.madeText(t, all...); got != "0000000000" || w.epochs.loads < 10 || w.broken(t) != 0 {
			t.Errorf("read under %s after %d attempts", got, w.epochs.loads)
		}
		stop()
		if err := <-stuck; err != nil {
			t.Error(err)
		}
	})
}

// TestAStoreThatNeitherAnswersNorRefusesIsAskedAgain: it would hold the partition
// up for ever.
func TestAStoreThatNeitherAnswersNorRefusesIsAskedAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w, all := interrupted(t)
		w.epochs.hangs = 2
		if _, err := w.run(t, 10*time.Minute); err != nil {
			t.Fatal(err)
		}
		if got := w.madeText(t, all...); got != "0000000000" || w.epochs.loads != 3 {
			t.Errorf("read under %s after %d attempts", got, w.epochs.loads)
		}
	})
}

// TestAfterACleanEndNothingIsLoaded: no former owner has read anything that is
// not committed.
func TestAfterACleanEndNothingIsLoaded(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		all := distinct(t, "0", "1")
		w := newWorld()
		w.epochs = newEpochs(all[0])
		w.send(from("a"), from("b"))
		if _, err := w.run(t, 3*time.Second); err != nil {
			t.Fatal(err)
		}
		w.epochs = newEpochs(all[1]) // which keeps no other
		w.send(from("c"))
		w.raw = w.raw[:2]
		go func() {
			time.Sleep(time.Second)
			w.send(from("c"))
		}()
		if _, err := w.run(t, 3*time.Second); err != nil {
			t.Fatal(err)
		}
		if got := w.madeText(t, all...); got != "001" || w.epochs.loads != 0 || w.broken(t) != 0 {
			t.Errorf("read under %s, %d loads", got, w.epochs.loads)
		}
	})
}

// TestDatabasesThatAreReadAnewChangeTheEpochOfARunningOwner at a commit.
func TestDatabasesThatAreReadAnewChangeTheEpochOfARunningOwner(t *testing.T) {
	for life := range 30 {
		synctest.Test(t, func(t *testing.T) {
			all := distinct(t, "0", "1", "2")
			w := newWorld()
			w.epochs = newEpochs(all[0])
			w.mortal = life
			go func() {
				for i := range 30 {
					w.send(from(fmt.Sprint(i)))
					if i%10 == 9 && i < 29 {
						w.epochs.use(all[i/10+1])
					}
					time.Sleep(90 * time.Millisecond)
				}
			}()
			if _, err := w.run(t, 2*time.Second); err != nil && !errors.Is(err, errDied) {
				t.Fatal(err)
			}
			w.mortal = -1
			time.Sleep(time.Second)
			if _, err := w.run(t, 4*time.Second); err != nil {
				t.Fatal(err)
			}
			made := w.made(t, all...)
			for o := range w.end() {
				if want := w.promised(t, o, all...); made[o] != want {
					t.Errorf("life %d: record %d was read under %q, the commits say %s", life, o, made[o], want)
				}
			}
			if life > 3 && made[0] != "0" || life > 25 && made[25] != "2" || w.broken(t) != 0 {
				t.Errorf("life %d: read under %v", life, made)
			}
		})
	}
}

func TestManifests(t *testing.T) {
	cfg := ingest.Defaults()
	cfg.Routes, cfg.TrustedProxies = []string{"/users/{id}"}, []string{"10.0.0.0/8"}
	cfg.Format, cfg.Mapping = "mapping", &format.Mapping{"time": {From: "t", Unit: "ms"}, "id": {From: "x"}, "auth": {From: "a", Values: map[string]string{"ok": "success"}}}
	var p facet.Projection
	p[facet.IP] = []event.Field{event.Auth}
	p[facet.Route] = []event.Field{}
	m := ingest.NewManifest(cfg, p, map[string]string{"City": "aa", "ASN": "bb"})
	// Whoever changes these bytes makes every epoch that is kept one that cannot be
	// had, and raises the version.
	const golden = `{"v":2,"semantics":4,"projection":{"ip":["auth"],"route":[]},"format":"mapping","mapping":{"auth":{"from":"a","values":{"ok":"success"}},"id":{"from":"x"},"time":{"from":"t","unit":"ms"}},"routes":["/users/{id}"],"trusted_proxies":["10.0.0.0/8"],"max_late":600000,"delayed":"late","max_future":5000,"databases":{"ASN":"bb","City":"aa"}}`
	if string(m.Bytes()) != golden {
		t.Errorf("a manifest is\n%s, want\n%s", m.Bytes(), golden)
	}
	e, err := m.Epoch(country("x"))
	if err != nil {
		t.Fatal(err)
	}
	back, err := ingest.ParseManifest([]byte(golden))
	if err != nil {
		t.Fatal(err)
	}
	if again, err := back.Epoch(country("x")); err != nil || again.Name != e.Name || len(e.Name) != 64 {
		t.Errorf("read back it is %+v, %v, and was %s", again, err, e.Name)
	}
	for name, change := range map[string]func(*ingest.Config, map[string]string){
		"format": func(c *ingest.Config, _ map[string]string) { c.Format, c.Mapping = "combined", nil },
		"mapping": func(c *ingest.Config, _ map[string]string) {
			c.Mapping = &format.Mapping{"time": {From: "t", Unit: "s"}, "id": {From: "x"}}
		},
		"pattern": func(c *ingest.Config, _ map[string]string) {
			c.Format, c.Mapping, c.Pattern = "pattern", nil, "(?P<time>.*)"
		},
		"user":      func(c *ingest.Config, _ map[string]string) { c.RemoteUser = ingest.Verified },
		"routes":    func(c *ingest.Config, _ map[string]string) { c.Routes = nil },
		"proxies":   func(c *ingest.Config, _ map[string]string) { c.TrustedProxies = nil },
		"CDN":       func(c *ingest.Config, _ map[string]string) { c.ConnectingIPFrom = []string{"198.18.0.0/15"} },
		"delayed":   func(c *ingest.Config, _ map[string]string) { c.Delayed = ingest.DelayedArrival },
		"late":      func(c *ingest.Config, _ map[string]string) { c.MaxLate++; c.MaxLate += time.Second },
		"future":    func(c *ingest.Config, _ map[string]string) { c.MaxFuture += time.Second },
		"databases": func(_ *ingest.Config, d map[string]string) { d["City"] = "cc" },
	} {
		c, d := cfg, map[string]string{"City": "aa", "ASN": "bb"}
		change(&c, d)
		other, err := ingest.NewManifest(c, p, d).Epoch(country("x"))
		if err != nil || other.Name == e.Name {
			t.Errorf("with another %s the name is the same (%v)", name, err)
		}
	}
	for _, bad := range []string{
		"", "{", golden + " ", golden[:len(golden)-1] + `,"more":1}`, strings.Replace(golden, `"v":2`, `"v":3`, 1),
	} {
		if _, err := ingest.ParseManifest([]byte(bad)); !errors.Is(err, ingest.ErrNoEpoch) {
			t.Errorf("%s: %v", bad, err)
		}
	}
	for _, bad := range []string{
		strings.Replace(golden, `"semantics":4`, `"semantics":9`, 1), strings.Replace(golden, `"ip":`, `"robot":`, 1),
		strings.Replace(golden, `["auth"]`, `["author"]`, 1), strings.Replace(golden, `"delayed":"late"`, `"delayed":"never"`, 1), strings.Replace(golden, `"mapping","mapping"`, `"cobol","mapping"`, 1),
		strings.Replace(golden, "10.0.0.0/8", "ten", 1),
	} {
		m, err := ingest.ParseManifest([]byte(bad))
		if err != nil {
			t.Fatal(err)
		}
		if _, err := m.Epoch(country("x")); !errors.Is(err, ingest.ErrNoEpoch) {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

// TestWhatIsDerivedHasANumber: whoever changes what any record derives raises
// Semantics, or owners would go on under an epoch that they no longer know.
func TestWhatIsDerivedHasANumber(t *testing.T) {
	const (
		of  = 4
		sum = "04cd3ae145e91fc640247cf0a892cfe17e4b81d88faecce0ea34127e10b2bfe2"
	)
	h, facets := sha256.New(), int64(0)
	for _, format := range []string{
		"aws-alb", "caddy", "cloudflare-logpush", "combined", "envoy", "envoy-gateway", "haproxy", "nginx", "nginx-proxy-manager", "traefik", "weir",
	} {
		lines := []string{
			`{"id":"1","time":"2026-11-23T10:05:03.123Z","tenant":"acme","account":"ann","session":"s","token":"t","token_family":"f","device":"d","ip":"10.0.0.1","forwarded_for":"203.0.113.7, 10.0.0.9","ja4":"j","app_version":"4.2.0","device_model":"Pixel 8","method":"GET","path":"/v1/users/4711?x=1","auth":"failure"}`,
			`{"id":"2","time":1795428303000,"ip":"2001:db8:1:2::7","path":"/v1/things/9f86d081884c7d659a2feaa0c55ad015/parts/7"}`,
			`{"id":"3","time":1795428303000,"ip":"::ffff:192.0.2.9","path":"/shop/shoes","route":"/shop/{what}","decision":"d","decision_action":"deny"}`,
			`{"id":"5","time":1795428303000,"account":"cem","decision":"d","decision_action":"tag"}`,
			`{"id":"4","time":1795428303000,"account":"ben"`,
			`{"id":"6","time":1795428303000,"account":"` + strings.Repeat("a", 300) + `","device":"\ud800","user_agent":"\u0000","request_bytes":-1,"attrs":{"a":[]}}`,
		}
		if format != "weir" {
			b, err := os.ReadFile("../event/format/testdata/logs/" + format + ".log")
			if err != nil {
				t.Fatal(err)
			}
			lines = strings.Split(string(b), "\n")
		}
		synctest.Test(t, func(t *testing.T) {
			w := newWorld()
			w.history = true // so that times are those of the records
			w.epochs = newEpochs(newEpoch(t, wide(format), everything(), country("DE")))
			w.send(lines...)
			l, err := w.run(t, 3*time.Second)
			if err != nil {
				t.Fatal(err)
			}
			facets += l.Facets
			fmt.Fprintln(h, format, len(w.dead))
			w.describe(t, h)
		})
	}
	if facets < 50 {
		t.Errorf("only %d facets", facets)
	}
	if got := hex.EncodeToString(h.Sum(nil)); ingest.Semantics != of || got != sum {
		t.Errorf("the same records derive other facets than under semantics %d: %s; raise Semantics (it is %d), and note both here", of, got, ingest.Semantics)
	}
}

func wide(format string) ingest.Config {
	cfg := ingest.Defaults()
	cfg.Format, cfg.Routes, cfg.TrustedProxies = format, []string{"/v1/users/{id}"}, []string{"10.0.0.0/8"}
	return cfg
}

// everything projects all fields for all kinds that there are.
func everything() (p facet.Projection) {
	for _, k := range facet.Kinds() {
		for _, f := range event.Fields() {
			p[k] = append(p[k], f.Field)
		}
	}
	return p
}

// describe writes all facets, and where they go to among many partitions.
func (w *world) describe(t *testing.T, to io.Writer) {
	t.Helper()
	hasher := facet.NewHasher([16]byte{1})
	w.eachFacet(t, func(f *facet.Facet) {
		fmt.Fprintf(to, "%d %d %+v %d %d", f.Offset, f.Ordinal, f.Entity, f.Time, facet.Partition(hasher.Sum(f.Entity), 1000))
		for _, spec := range event.Fields() {
			if f.Fields.Has(spec.Field) {
				fmt.Fprintf(to, " %s=%q/%d", spec.Name, f.Fields.Text(spec.Field), f.Fields.Num(spec.Field))
			}
		}
		fmt.Fprintln(to)
	})
}
