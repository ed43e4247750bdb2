package canary

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/weirdev/weir/app/dryrun"
	"github.com/weirdev/weir/detectors"
	"github.com/weirdev/weir/engine"
	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/ingest"
	"github.com/weirdev/weir/internal/geo"
	"github.com/weirdev/weir/internal/kafka"
	"github.com/weirdev/weir/notices"
	"github.com/weirdev/weir/rules"
	"github.com/weirdev/weir/score"
)

// cities is a geographic database of four addresses.
type cities struct{}

func (cities) Lookup(a netip.Addr, p *geo.Place) {
	switch a.String() {
	case "130.149.7.201":
		p.Country, p.LatitudeMicro, p.LongitudeMicro, p.RadiusKM = "DE", 52_520_000, 13_405_000, 20
	case "129.78.5.8":
		p.Country, p.LatitudeMicro, p.LongitudeMicro, p.RadiusKM = "AU", -33_868_800, 151_209_300, 20
	}
}

func options(t *testing.T, longest time.Duration) Options {
	t.Helper()
	set, err := rules.Default(detectors.All())
	if err != nil {
		t.Fatal(err)
	}
	from, err := ParseAddresses([]string{"130.149.7.201", "129.78.5.8"})
	if err != nil {
		t.Fatal(err)
	}
	return Options{Rules: set, Ingest: ingest.Defaults(), Places: cities{}, Detect: engine.Defaults(), Longest: longest, From: from}
}

func chosen(t *testing.T, o Options) []Attack {
	t.Helper()
	all, err := Choose(o)
	if err != nil {
		t.Fatal(err)
	}
	return all
}

// TestEveryDetectorHasAnAttack: one that is played, or the reason why it is not.
func TestEveryDetectorHasAnAttack(t *testing.T) {
	o := options(t, 20*time.Minute)
	all := chosen(t, o)
	var played, left []string
	for _, a := range all {
		if a.Why == "" {
			played = append(played, a.Detector)
			continue
		}
		left = append(left, a.Detector)
		if !strings.HasPrefix(a.Why, "the shortest attack, of ") {
			t.Errorf("%s is not attacked: %s", a.Detector, a.Why)
		}
	}
	var known []string
	for _, r := range o.Rules.Rules {
		if !slices.Contains(known, r.Detector) {
			known = append(known, r.Detector)
		}
	}
	// Those that are left learn for hours or days what is usual.
	if len(all) != len(known) || len(played) < 10 || len(left) > 4 {
		t.Errorf("played: %v\nleft: %v", played, left)
	}
	o.Places = nil
	for _, a := range chosen(t, o) {
		if needs := slices.Contains(played, a.Detector) && a.Why != ""; needs && !strings.Contains(a.Why, "geographic databases") {
			t.Errorf("without a database: %s: %s", a.Detector, a.Why)
		}
	}
}

// loop is both topics, with the code of both stages between them.
type loop struct {
	mu      sync.Mutex
	run     *dryrun.Run
	lost    string // signals of this rule do not come
	delay   time.Duration
	signals []kafka.Record
	ours    []score.Signal // signals of other tenants
	seen    int
	runs    int
}

func newLoop(t *testing.T, o Options) *loop {
	t.Helper()
	run, err := dryrun.New(dryrun.Options{Rules: o.Rules, Ingest: o.Ingest, Places: o.Places, Detect: o.Detect, Partitions: 4})
	if err != nil {
		t.Fatal(err)
	}
	return &loop{run: run}
}

func (l *loop) Produce(_ context.Context, topic string, ps []kafka.Produce) error {
	if topic != "weir.events" {
		return fmt.Errorf("somebody writes to %s", topic)
	}
	for _, p := range ps {
		for _, r := range p.Records {
			if err := l.take(r.Value); err != nil {
				return err
			}
		}
	}
	return nil
}

func (l *loop) take(value []byte) error {
	time.Sleep(l.delay)
	l.mu.Lock()
	defer l.mu.Unlock()
	if _, _, refusal, err := l.run.Record(value); err != nil || refusal != nil {
		return fmt.Errorf("%s: %v %w", value, refusal, err)
	}
	for ; l.seen < len(l.run.Signals); l.seen++ {
		s := l.run.Signals[l.seen]
		if !event.IsCanary(s.Entity.Tenant) {
			l.ours = append(l.ours, s)
		}
		if s.Rule == l.lost {
			continue
		}
		b, err := json.Marshal(s)
		if err != nil {
			return err
		}
		l.signals = append(l.signals, kafka.Record{Offset: int64(len(l.signals)), Value: b})
	}
	return nil
}

func (l *loop) Fetch(ctx context.Context, _ string, _ int32, offset int64, b *kafka.Batch) error {
	l.mu.Lock()
	b.Records = append(b.Records[:0], l.signals[offset:]...)
	b.Next = int64(len(l.signals))
	l.mu.Unlock()
	if len(b.Records) > 0 {
		return nil
	}
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-time.After(100 * time.Millisecond):
		return nil
	}
}

func (l *loop) NextReadable(context.Context, string, int32, int64) (int64, error) { return 0, nil }

func (l *loop) Partitions(context.Context, string) (int, error) { return 3, nil }

func (l *loop) Offsets(context.Context, string) ([]kafka.OffsetRange, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return []kafka.OffsetRange{{End: int64(len(l.signals))}}, nil
}

func (l *loop) canary(attacks []Attack, r prometheus.Registerer) *Canary {
	return New(Config{Events: "weir.events", Signals: "weir.signals", Every: time.Minute, Within: 30 * time.Second, Log: l, Logger: slog.New(slog.DiscardHandler), Name: func() string {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.runs++
		return fmt.Sprint("r", l.runs)
	}}, attacks, r)
}

// inBubble runs do at a time that is later than that of tests.
func inBubble(t *testing.T, do func(t *testing.T)) {
	synctest.Test(t, func(t *testing.T) {
		time.Sleep(27 * 365 * 24 * time.Hour)
		do(t)
	})
}

// TestAttacksAreCaughtAndNobodyElseNotices plays all attacks for twelve minutes beside
// the traffic of another tenant, on which everything is as without them.
func TestAttacksAreCaughtAndNobodyElseNotices(t *testing.T) {
	o := options(t, 10*time.Minute)
	attacks := chosen(t, o)
	people := chosen(t, o) // the same attacks, on a tenant of somebody else
	var alone []score.Signal
	for _, watched := range []bool{false, true} {
		inBubble(t, func(t *testing.T) {
			l := newLoop(t, o)
			ctx, cancel := context.WithTimeout(t.Context(), 12*time.Minute)
			defer cancel()
			var all sync.WaitGroup
			r := prometheus.NewRegistry()
			c := l.canary(attacks, r)
			if watched {
				all.Go(func() {
					if err := c.Run(ctx, attacks); err != nil {
						t.Error(err)
					}
				})
			}
			all.Go(func() {
				time.Sleep(30 * time.Second)
				for i := range people {
					if a := &people[i]; a.Why == "" {
						all.Go(func() { l.people(t, a) })
					}
				}
			})
			all.Wait()
			sortSignals(l.ours)
			if !watched {
				alone = l.ours
				return
			}
			if len(alone) == 0 || !reflect.DeepEqual(l.ours, alone) {
				t.Errorf("the other tenant has %d signals beside the canary, and %d alone", len(l.ours), len(alone))
			}
			for _, a := range attacks {
				caught := testutil.ToFloat64(c.metrics.attacks.WithLabelValues(a.Detector, "caught"))
				missed := testutil.ToFloat64(c.metrics.attacks.WithLabelValues(a.Detector, "missed")) + testutil.ToFloat64(c.metrics.attacks.WithLabelValues(a.Detector, "failed"))
				if a.Why == "" && (caught < 2 || missed > 0) {
					t.Errorf("%s: %v attacks were caught, %v not", a.Detector, caught, missed)
				}
			}
		})
	}
}

// people plays an attack as people of the tenant "shop".
func (l *loop) people(t *testing.T, a *Attack) {
	p := a.play("people", time.Now())
	for _, r := range p.records {
		time.Sleep(time.Until(r.at))
		if err := l.take([]byte(strings.ReplaceAll(string(r.value), p.tenant, "shop-"+a.Detector))); err != nil {
			t.Error(err)
		}
	}
}

// sortSignals orders signals, and clears what depends on other traffic: positions.
func sortSignals(all []score.Signal) {
	for i := range all {
		s := &all[i]
		s.Position, s.Source, s.SourceOffset = score.Position{}, 0, 0
		for e := range s.Evidence {
			if s.Evidence[e].Values[1] != 0 {
				s.Evidence[e].Values[0], s.Evidence[e].Values[1] = 0, 0
			}
		}
	}
	slices.SortFunc(all, func(a, b score.Signal) int {
		return strings.Compare(fmt.Sprint(a), fmt.Sprint(b))
	})
}

func TestAnAttackThatIsNotFoundIsTold(t *testing.T) {
	o := options(t, 10*time.Second)
	attacks := slices.DeleteFunc(chosen(t, o), func(a Attack) bool { return a.Why != "" })
	if len(attacks) != 2 {
		t.Fatalf("there are %d", len(attacks))
	}
	inBubble(t, func(t *testing.T) {
		l := newLoop(t, o)
		l.lost = attacks[0].Rule
		all, err := l.canary(attacks, nil).Once(t.Context(), attacks)
		if err != nil || all[0].Caught || all[0].Err != nil || !all[1].Caught || all[1].After > time.Second {
			t.Errorf("%+v, %v", all, err)
		}
		l.lost, l.delay = "", 2*time.Second
		all, err = l.canary(attacks, nil).Once(t.Context(), attacks)
		if err != nil || !all[0].Caught || !all[1].Caught || all[1].After < 2*time.Second {
			t.Errorf("a slow one: %+v, %v", all, err)
		}
		l.delay = 40 * time.Second
		r := prometheus.NewRegistry()
		c := l.canary(attacks[1:], r)
		ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
		defer cancel()
		told := 0
		c.Told = func(o Outcome) {
			if o.Caught || o.Err != nil {
				t.Errorf("%+v", o)
			}
			told++
		}
		c.Within = time.Second
		l.lost = attacks[1].Rule
		if err := c.Run(ctx, attacks[1:]); err != nil {
			t.Error(err)
		}
		if missed := testutil.ToFloat64(c.metrics.attacks.WithLabelValues(attacks[1].Detector, "missed")); missed < 4 || int(missed) != told {
			t.Errorf("%v are counted, %d told", missed, told)
		}
	})
}

// TestTheCanaryTellsWhenSomethingChanges: not each minute, and not because of a worker
// that was restarted.
func TestTheCanaryTellsWhenSomethingChanges(t *testing.T) {
	var told []string
	a := NewAlarm("weir", 30*time.Second, func(n notices.Notice) { told = append(told, n.Subject()) })
	one := &Attack{Detector: "sequence", Rule: "fast"}
	for _, caught := range []bool{true, false, true, false, false, false, true, true, false} {
		a.Told(Outcome{Attack: one, Caught: caught})
	}
	want := []string{"[FIRING] The canary's attacks on detector sequence are not found within 30s.", "[RESOLVED] The canary's attack on detector sequence is found again."}
	if strings.Join(told, "\n") != strings.Join(want, "\n") {
		t.Errorf("told: %q", told)
	}
}

// TestARestartKeepsWhichAlarmsAreOpen: each outcome is told to an alarm of its own, as
// if the canary were restarted before it.
func TestARestartKeepsWhichAlarmsAreOpen(t *testing.T) {
	file := filepath.Join(t.TempDir(), "canary.json")
	one := Attack{Detector: "sequence", Rule: "fast"}
	var told []notices.Notice
	say := func(n notices.Notice) { told = append(told, n) }
	restarted := func(attacks ...Attack) *Alarm {
		t.Helper()
		a := NewAlarm("weir", 30*time.Second, say)
		if err := a.Keep(file, attacks, slog.New(slog.DiscardHandler)); err != nil {
			t.Fatal(err)
		}
		return a
	}
	for _, caught := range []bool{false, false, false, true, true, false, true} {
		restarted(one).Told(Outcome{Attack: &one, Caught: caught})
	}
	if len(told) != 2 || told[0].Status != notices.Firing || told[1].Status != notices.Resolved || told[0].GroupID != told[1].GroupID || told[0].ID == told[1].ID {
		t.Fatalf("told: %+v", told)
	}

	// One that was killed while it told people tells them again, under the same id.
	told = nil
	a := NewAlarm("weir", 30*time.Second, func(n notices.Notice) { say(n); panic("killed") })
	if err := a.Keep(file, []Attack{one}, slog.New(slog.DiscardHandler)); err != nil {
		t.Fatal(err)
	}
	a.Told(Outcome{Attack: &one})
	func() {
		defer func() { _ = recover() }()
		a.Told(Outcome{Attack: &one})
	}()
	restarted(one).Told(Outcome{Attack: &one})
	restarted(one).Told(Outcome{Attack: &one})
	if len(told) != 2 || told[0].ID != told[1].ID || told[1].Status != notices.Firing {
		t.Errorf("told: %+v", told)
	}

	// A detector that is not attacked any more is not found again, either.
	told = nil
	restarted(Attack{Detector: "sequence", Why: "it takes long"})
	restarted()
	if len(told) != 1 || told[0].Status != notices.Resolved || told[0].Rules[0] != "fast" || !strings.Contains(told[0].Title, "no longer attacks detector sequence") {
		t.Errorf("told: %+v", told)
	}
}

func TestAFileThatIsNoStateOfThisCanaryIsRefused(t *testing.T) {
	file := filepath.Join(t.TempDir(), "canary.json")
	for text, want := range map[string]string{
		"":                                   "remove it",
		`{"v":2,"stream":"weir"}`:            "has version 2",
		`{"v":1,"stream":"other"}`:           "is of the stream other",
		`{"v":1,"stream":"weir","missed":1}`: "remove it",
	} {
		if err := os.WriteFile(file, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		err := NewAlarm("weir", time.Second, func(notices.Notice) {}).Keep(file, nil, slog.New(slog.DiscardHandler))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", text, err)
		}
	}
}
