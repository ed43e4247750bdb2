package redis

import (
	"context"
	"fmt"
	"slices"
	"sync"
	"testing"

	"github.com/weirdev/weir/score"
)

// heard is what somebody who follows was told.
type heard struct {
	mu    sync.Mutex
	whole bool
	gaps  int
	last  map[string]score.Value
	order []string // of everything, in short
}

func (h *heard) note(what string) {
	h.order = append(h.order, what)
}

func (h *heard) Whole() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.whole = true
	h.note("whole")
}

func (h *heard) Broken() {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.whole = false
	h.gaps++
	h.note("broken")
}

func (h *heard) Changed(key string, v score.Value) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.last[key] = v
	h.note(fmt.Sprint("changed ", v.Position.Offset))
}

func (h *heard) is(met func() bool) func() bool {
	return func() bool {
		h.mu.Lock()
		defer h.mu.Unlock()
		return met()
	}
}

func follow(t testing.TB, cfg Config) *heard {
	t.Helper()
	h := &heard{last: map[string]score.Value{}}
	r := newTestReader(t, cfg)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- r.Follow(ctx, h) }()
	t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	eventually(t, "it follows", h.is(func() bool { return h.whole }))
	return h
}

func TestWhoFollowsHearsEveryScoreThatIsWritten(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		h := follow(t, testConfig(s))
		w := startWriter(t, testConfig(s))
		track := w.Open(3)
		for i := range 50 {
			put(t, track, int64(i), update(entityNumber(i%10), int64(i), 50))
			drain(t, track)
		}
		key := w.codec.Key(entityNumber(9))
		eventually(t, "the last score is heard", h.is(func() bool { return h.last[key].Position.Offset == 49 }))
		h.mu.Lock()
		defer h.mu.Unlock()
		if len(h.last) != 10 || h.gaps != 0 {
			t.Errorf("%d entities, %d gaps", len(h.last), h.gaps)
		}
		if v := h.last[key]; len(v.Contributions) != 1 || v.Contributions[0].Weight != 50 {
			t.Errorf("got %+v", v)
		}
	})
}

// TestAScoreThatIsOlderIsNotPublished, and is no gap.
func TestAScoreThatIsOlderIsNotPublished(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		h, w := follow(t, testConfig(s)), idleWriter(t, s)
		track := w.Open(3)
		for _, offset := range []int64{5, 3, 7} {
			if err := writeNow(t.Context(), w, track, update(entityNumber(0), offset, 50)); err != nil {
				t.Fatal(err)
			}
		}
		eventually(t, "the newest is heard", h.is(func() bool { return h.last[w.codec.Key(entityNumber(0))].Position.Offset == 7 }))
		h.mu.Lock()
		defer h.mu.Unlock()
		if want := []string{"whole", "changed 5", "changed 7"}; !slices.Equal(h.order, want) {
			t.Errorf("heard %q, want %q", h.order, want)
		}
	})
}

func TestALostMessageIsAGap(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		h, w := follow(t, testConfig(s)), idleWriter(t, s)
		track := w.Open(3)
		write := func(offset int64) {
			if err := writeNow(t.Context(), w, track, update(entityNumber(0), offset, 50)); err != nil {
				t.Fatal(err)
			}
		}
		write(1)
		w.voice.next() // one that nobody hears
		write(2)
		eventually(t, "it goes on", h.is(func() bool { return h.last[w.codec.Key(entityNumber(0))].Position.Offset == 2 }))
		w.voice.next()
		w.beat(t.Context()) // what is missing at the end is noticed by the next sign of life
		eventually(t, "both gaps are noticed", h.is(func() bool { return h.gaps == 2 && h.whole }))
	})
}

func TestAServerThatComesBackIsFollowedAgain(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		h := follow(t, testConfig(s))
		s.Stop(t)
		eventually(t, "the loss is noticed", h.is(func() bool { return !h.whole && h.gaps == 1 }))
		s.Start(t)
		eventually(t, "it follows again", h.is(func() bool { return h.whole }))
		track := startWriter(t, testConfig(s)).Open(3)
		put(t, track, 1, update(entityNumber(0), 1, 50))
		eventually(t, "and hears", h.is(func() bool { return len(h.last) == 1 }))
	})
}

// TestStrangersOnTheChannelAreNotBelieved: they can cause gaps, and no scores.
func TestStrangersOnTheChannelAreNotBelieved(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		h, w, c := follow(t, testConfig(s)), idleWriter(t, s), connect(t, s)
		key := w.codec.Key(entityNumber(1))
		for _, text := range []string{
			"", " ", "hello", "0123456789abcdef", "0123456789abcdef 0", "0123456789abcdef +1", "0123456789abcdef 1 " + key,
			"0123456789abcdef 1 " + key + " forged", "0123456789abcdef 2 " + key + ` 00000001000000000000000500000000 {"v":3,"x":1}`,
		} {
			if err := c.Publish(t.Context(), w.voice.channel, text).Err(); err != nil {
				t.Fatal(err)
			}
		}
		if err := writeNow(t.Context(), w, w.Open(3), update(entityNumber(0), 1, 50)); err != nil {
			t.Fatal(err)
		}
		eventually(t, "the genuine one is heard", h.is(func() bool { return len(h.last) > 0 }))
		h.mu.Lock()
		defer h.mu.Unlock()
		if want := []string{"whole", "changed 1"}; !slices.Equal(h.order, want) {
			t.Errorf("heard %q, want %q", h.order, want)
		}
	})
}

// TestAWriterThatMayNotPublishWritesAllTheSame: users of the version before may not.
func TestAWriterThatMayNotPublishWritesAllTheSame(t *testing.T) {
	s := startReal(t)
	if err := connect(t, s).Do(t.Context(), "acl", "setuser", "old-worker", "on", ">worker", "resetkeys", "~weir:risk:*", "resetchannels", "-@all", "+evalsha", "+script|load", "+getrange", "+set", "+ping").Err(); err != nil {
		t.Fatal(err)
	}
	cfg := testConfig(s)
	cfg.Username, cfg.Password = "old-worker", "worker"
	track := startWriter(t, cfg).Open(3)
	put(t, track, 1, update(entityNumber(0), 1, 50))
	drain(t, track)
	if v := get(t, newTestReader(t, testConfig(s)), entityNumber(0)); v.Position.Offset != 1 {
		t.Errorf("got %+v", v)
	}
}

func FuzzMessage(f *testing.F) {
	for _, seed := range []string{"0123456789abcdef 1", "0123456789abcdef 18446744073709551615 weir:risk:ip:{aaaaaaaaaaaaaaaaaaaa} x", "0123456789abcdef 01", "", "  "} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, text string) {
		m, ok := parseMessage(text)
		if !ok {
			return
		}
		again := fmt.Sprintf("%s %d", m.writer, m.number)
		if m.key != "" {
			again += " " + m.key + " " + m.value
		}
		if again != text || len(m.writer) != writerLen || m.number == 0 {
			t.Fatalf("%q is %+v", text, m)
		}
	})
}
