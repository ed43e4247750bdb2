package push

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/kafka"
	"github.com/weirdev/weir/rules"
)

// following is a follower, and what it had its worker use.
type following struct {
	*Follower
	fields facet.Projection
	pushed int64
	said   bytes.Buffer
	fails  error // of the worker
}

func follow(t *testing.T, w *world, own *rules.Set) *following {
	t.Helper()
	f := &following{}
	f.Follower = NewFollower(w, "rules", 1, own, slog.New(slog.NewTextHandler(&f.said, nil)))
	f.Use = func(_ context.Context, p facet.Projection, pushed int64) error {
		if f.fails == nil {
			f.fields, f.pushed = p, pushed
		}
		return f.fails
	}
	if err := f.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	return f
}

// has says for which kinds facets are made.
func (f *following) has() (kinds string) {
	for _, k := range facet.Kinds() {
		if f.fields[k] != nil {
			kinds += k.String() + " "
		}
	}
	return kinds
}

// TestFacetsServeWhatMayBeInForce: the worker's own rules until others are, what is
// proposed before it is decided, and what was in force before.
func TestFacetsServeWhatMayBeInForce(t *testing.T) {
	w, own := newWorld(), set(t, "session", "auth")
	f := follow(t, w, own)
	check := func(what, want string) {
		t.Helper()
		if err := f.Catch(t.Context(), int64(len(w.rules))); err != nil {
			t.Fatal(err)
		}
		if f.has() != want || f.pushed != int64(len(w.rules)) {
			t.Errorf("%s: facets of %s, up to %d", what, f.has(), f.pushed)
		}
	}
	w.mortal = 1 // only proposed
	if _, err := w.push(t, Request{Rules: set(t, "ip", "auth")}); err == nil {
		t.Fatal("it has not died")
	}
	w.mortal = -1
	check("proposed", "session ip ")
	w.must(t, Request{Rules: set(t, "ip", "auth")})
	check("in force", "ip ")
	w.must(t, Request{Rules: set(t, "net", "auth")})
	check("replaced", "ip net ")
	w.must(t, Request{Rules: set(t, "device", "auth"), Lane: facet.Shadow})
	check("shadow", "device ip net ")
	w.must(t, Request{Rules: set(t, "account", "auth")})
	check("replaced again", "account device net ")
	if p, set, err := f.InForce(t.Context()); err != nil || p.Version != set.Version || set.Rules[0].Entity != facet.Account {
		t.Errorf("in force is %+v, %v", p, err)
	}
	for lane, want := range map[facet.Lane]*rules.Set{facet.Live: set(t, "account", "auth"), facet.Shadow: set(t, "device", "auth")} {
		if n, b, err := f.Bundle(t.Context(), lane); err != nil || n == 0 || !bytes.Equal(b, bundle(t, want)) {
			t.Errorf("%v: the bundle of push %d is another one, %v", lane, n, err)
		}
	}
	w.must(t, Request{Lane: facet.Shadow})
	check("without shadow rules", "account device net ")
	if n, b, err := f.Bundle(t.Context(), facet.Shadow); err != nil || n != uint64(len(w.rules))-2 || b != nil {
		t.Errorf("shadow rules have ended: push %d, %d bytes, %v", n, len(b), err)
	}
	if f.Live().Rules[0].Entity != facet.Account {
		t.Errorf("live is %s", f.Live().Version)
	}
	other := NewFollower(w, "rules", 2, own, slog.New(slog.DiscardHandler))
	if err := other.Start(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n, _, err := other.Bundle(t.Context(), facet.Live); n != 0 || err != nil {
		t.Errorf("in another incarnation, push %d is in force, %v", n, err)
	}
	if p, _, err := other.InForce(t.Context()); p != nil || err != nil || other.Live() != own {
		t.Errorf("in another incarnation, %+v is in force, %v", p, err)
	}
}

// TestAWorkerThatCannotUseRulesDoesNotSayThatItFollows, and does not start once they may
// be in force.
func TestAWorkerThatCannotUseRulesDoesNotSayThatItFollows(t *testing.T) {
	w, own := newWorld(), set(t, "session", "auth")
	f := follow(t, w, own)
	alien := record{Incarnation: 1, Step: proposed, ID: "alien", Lane: "live", Rules: "another version", Bundle: bundle(t, set(t, "ip", "auth"))}
	if err := w.pusher().append(t.Context(), &alien); err != nil {
		t.Fatal(err)
	}
	if err := f.Catch(t.Context(), 1); err == nil || !strings.Contains(err.Error(), "and had another version") {
		t.Errorf("it follows: %v", err)
	}
	if f.pushed != 0 || !strings.Contains(f.said.String(), "cannot be used by this worker") {
		t.Errorf("it follows up to %d, and says:\n%s", f.pushed, f.said.String())
	}
	follow(t, w, own) // starts: they are only proposed
	t.Run("later rules replace them", func(t *testing.T) {
		w := &world{rules: w.rules, mortal: -1}
		w.must(t, Request{Rules: set(t, "net", "auth")})
		if err := f.Catch(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		f.Log = w
		if err := f.Catch(t.Context(), int64(len(w.rules))); err != nil || f.has() != "net " {
			t.Errorf("facets of %s, %v", f.has(), err)
		}
	})
	t.Run("in force, they are used as an upgraded worker reads them", func(t *testing.T) {
		w := &world{rules: w.rules, mortal: -1}
		if err := w.pusher().append(t.Context(), &record{Incarnation: 1, Step: decided, Number: 1}); err != nil {
			t.Fatal(err)
		}
		f := follow(t, w, own)
		if p, pushed, err := f.Fields(t.Context()); err != nil || pushed != 2 || p[facet.IP] == nil || !strings.Contains(f.said.String(), "push them again") {
			t.Errorf("up to %d, %v:\n%s", pushed, err, f.said.String())
		}
	})
	t.Run("in force, those that do not load keep it from starting", func(t *testing.T) {
		alien.Bundle, alien.ID = []byte("no bundle"), "broken"
		if err := w.pusher().append(t.Context(), &alien); err != nil {
			t.Fatal(err)
		}
		if err := w.pusher().append(t.Context(), &record{Incarnation: 1, Step: decided, Number: 2}); err != nil {
			t.Fatal(err)
		}
		err := NewFollower(w, "rules", 1, own, slog.New(slog.DiscardHandler)).Start(t.Context())
		if err == nil || !strings.Contains(err.Error(), "push 2 of , which may be in force") {
			t.Errorf("it starts: %v", err)
		}
	})
}

// TestWhatTheWorkerCannotUseYetIsTriedAgain: its store may be down.
func TestWhatTheWorkerCannotUseYetIsTriedAgain(t *testing.T) {
	w := newWorld()
	f := follow(t, w, set(t, "session", "auth"))
	w.must(t, Request{Rules: set(t, "ip", "auth")})
	f.fails = errors.New("the store is down")
	if err := f.Catch(t.Context(), 1); !errors.Is(err, f.fails) || f.pushed != 0 {
		t.Errorf("%v, up to %d", err, f.pushed)
	}
	f.fails = nil
	if err := f.Catch(t.Context(), 1); err != nil || f.has() != "ip " {
		t.Errorf("%v, facets of %s", err, f.has())
	}
}

func bundle(t *testing.T, set *rules.Set) []byte {
	t.Helper()
	b, err := set.Bundle()
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// oddLog is a topic of rules with a marker, a deleted beginning, or none of what was read.
type oddLog struct {
	*world
	at  kafka.OffsetRange
	err error
}

func (l *oddLog) Fetch(_ context.Context, _ string, _ int32, _ int64, b *kafka.Batch) error {
	b.Records, b.Next = b.Records[:0], l.at.End
	return l.err
}

func (l *oddLog) Offsets(context.Context, string) ([]kafka.OffsetRange, error) {
	return []kafka.OffsetRange{l.at}, nil
}

// TestOddTopicsAreFollowed: a marker without records is passed, and not asked for again and
// again; where records are gone, it goes on behind them, or says that the topic is new.
func TestOddTopicsAreFollowed(t *testing.T) {
	f := follow(t, newWorld(), set(t, "session", "auth"))
	for _, tc := range []struct {
		name  string
		log   oddLog
		next  int64
		error string
	}{
		{"a marker", oddLog{at: kafka.OffsetRange{End: 1}}, 1, ""},
		{"a beginning that was deleted", oddLog{at: kafka.OffsetRange{Start: 5, End: 5}, err: kafka.ErrOffsetOutOfRange}, 5, ""},
		{"a topic made anew", oddLog{at: kafka.OffsetRange{End: 2}, err: kafka.ErrOffsetOutOfRange}, 5, "ends before: it was made anew"},
		{"a broker that is away", oddLog{err: kafka.ErrDenied}, 5, kafka.ErrDenied.Error()},
	} {
		f.Log = &tc.log
		err := f.turnOnce(t.Context(), new(kafka.Batch))
		if (err != nil) != (tc.error != "") || err != nil && !strings.Contains(err.Error(), tc.error) || f.history.Next != tc.next {
			t.Errorf("%s: it goes on at %d, %v", tc.name, f.history.Next, err)
		}
	}
}

// heldLog is a topic in which somebody leaves a transaction open.
type heldLog struct{ *world }

func (heldLog) Fetch(ctx context.Context, _ string, _ int32, offset int64, b *kafka.Batch) error {
	b.Records, b.Next, b.HighWatermark, b.Held = b.Records[:0], offset, 1, 1
	time.Sleep(time.Second)
	return ctx.Err()
}

func (heldLog) Offsets(context.Context, string) ([]kafka.OffsetRange, error) {
	return []kafka.OffsetRange{{End: 1}}, nil
}

// TestAnOpenTransactionIsSaid: a push waits for its end, and names it.
func TestAnOpenTransactionIsSaid(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
		defer cancel()
		h := &History{Incarnation: 1}
		if err := h.Read(ctx, heldLog{}, "rules", nil); !errors.Is(err, context.DeadlineExceeded) || !strings.Contains(err.Error(), "a transaction that somebody has begun at 0 is open") {
			t.Errorf("it ends with %v", err)
		}
	})
}
