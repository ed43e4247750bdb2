package redis

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	goredis "github.com/redis/go-redis/v9"
	"pgregory.net/rapid"

	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/score"
)

func testCodec() *score.Codec { return score.NewCodec(testSecret, "weir:risk") }

// stored is what the writer should leave behind.
type stored struct {
	there    bool
	position score.Position
	expires  int64
	weight   uint8
}

// apply is the rule in Go, for scores that have not expired.
func (s *stored) apply(u score.Update) (written bool) {
	if s.there && u.Position.Less(s.position) {
		return false
	}
	*s = stored{true, u.Position, max(u.Lasts(), s.expires), u.Contributions[0].Weight}
	return true
}

func drawUpdate(t *rapid.T, e facet.Entity, now int64) score.Update {
	u := score.Update{Entity: e, Expires: now + rapid.Int64Range(60_000, 90_000_000).Draw(t, "expires")}
	u.Position = score.Position{
		Incarnation: rapid.Uint64Range(9, 11).Draw(t, "incarnation"),
		Offset:      rapid.OneOf(rapid.Int64Range(9, 11), rapid.Int64Range(1<<53-2, 1<<53+2)).Draw(t, "offset"),
		Index:       rapid.Int32Range(0, 2).Draw(t, "index"),
	}
	u.Contributions = []score.Contribution{{
		Rule: "r", Category: "bot", Reason: "why", HalfLife: 60, Time: now, Weight: uint8(rapid.IntRange(1, 100).Draw(t, "weight")),
	}}
	return u
}

// idleWriter is a writer that writes when it is told to.
func idleWriter(t testing.TB, s server) *Writer {
	t.Helper()
	w, err := NewWriter(testConfig(s), testDeps())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.client.Close() })
	return w
}

// writeNow puts u and sends it, twice where the server has to learn the script.
func writeNow(ctx context.Context, w *Writer, track *Track, u score.Update) error {
	if err := track.Put(ctx, u.Position.Offset, u); err != nil {
		return err
	}
	for range 2 {
		if batch := w.take(); len(batch) > 0 {
			w.flush(ctx, batch)
		}
	}
	if len(w.queue) > 0 {
		return fmt.Errorf("%+v is not written", u.Position)
	}
	return nil
}

func TestNoOrderOfWritesPutsOlderOverNewer(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		ctx, c, n := t.Context(), connect(t, s), 0
		w := idleWriter(t, s)
		track := w.Open(3)
		now := time.Now().UnixMilli()
		rapid.Check(t, func(t *rapid.T) {
			n++
			e, model := entityNumber(n), stored{}
			for range rapid.IntRange(1, 12).Draw(t, "writes") {
				if rapid.IntRange(0, 3).Draw(t, "stranger") == 0 {
					scribble(ctx, t, c, w.codec.Key(e))
					model = stored{}
				}
				u := drawUpdate(t, e, now)
				before := testutil.ToFloat64(w.metrics.written)
				if err := writeNow(ctx, w, track, u); err != nil {
					t.Fatal(err)
				}
				written := testutil.ToFloat64(w.metrics.written) > before
				if want := model.apply(u); written != want {
					t.Fatalf("%+v: written %v, want %v", u.Position, written, want)
				}
				checkStored(ctx, t, c, w.codec.Key(e), model)
			}
		})
	})
}

// scribble puts something under key that is no score of it.
func scribble(ctx context.Context, t *rapid.T, c *goredis.Client, key string) {
	hostile := hostileValues(testCodec(), key)
	name := rapid.SampledFrom(hostileNames(hostile)).Draw(t, "scribble")
	if err := hostile[name].put(ctx, c, key); err != nil {
		t.Fatal(err)
	}
}

func checkStored(ctx context.Context, t *rapid.T, c *goredis.Client, key string, want stored) {
	text, err := c.Get(ctx, key).Result()
	if err != nil {
		t.Fatal(err)
	}
	got, err := testCodec().Parse(key, text)
	if err != nil {
		t.Fatal(err)
	}
	if got.Position != want.position || got.Expires != want.expires || got.Contributions[0].Weight != want.weight {
		t.Fatalf("stored %+v, want %+v", got, want)
	}
	left, err := c.PTTL(ctx, key).Result()
	if err != nil {
		t.Fatal(err)
	}
	// miniredis counts from its own reading of the clock: allow for the way.
	if off := time.Until(time.UnixMilli(want.expires)) - left; off < -5*time.Second || off > 5*time.Second {
		t.Fatalf("expires in %v, %v off", left, off)
	}
}

func TestWhatIsStoredAndWhatIsPut(t *testing.T) {
	now := time.Now().UnixMilli()
	type value struct{ offset, expires int64 }
	for _, tc := range []struct {
		name           string
		before         value // expires 0: nothing
		put            value
		offset, expiry int64 // afterwards; 0: no key
	}{
		{"a value that has expired is born expired", value{}, value{1, now - 1000}, 0, 0},
		{"a cleared score that nothing precedes leaves no key", value{}, value{1, 0}, 0, 0},
		{"a cleared score lasts as long as what it clears", value{1, now + 100_000}, value{2, 0}, 2, now + 100_000},
		{"an old one after a cleared one is refused", value{3, now + 100_000}, value{2, now + 900_000}, 3, now + 100_000},
		{"the same position with a later expiry prolongs", value{3, now + 100_000}, value{3, now + 900_000}, 3, now + 900_000},
		{"the longest expiry is written to the digit", value{}, value{2, 253_402_300_799_999}, 2, 253_402_300_799_999},
	} {
		t.Run(tc.name, func(t *testing.T) {
			onEach(t, func(t *testing.T, s server) {
				ctx, c, w := t.Context(), connect(t, s), idleWriter(t, s)
				track, e := w.Open(3), entityNumber(1)
				for _, v := range []value{tc.before, tc.put} {
					if v.offset == 0 {
						continue
					}
					u := score.Update{Entity: e, Position: score.Position{Incarnation: 1, Offset: v.offset}, Expires: v.expires}
					if err := writeNow(ctx, w, track, u); err != nil {
						t.Fatal(err)
					}
				}
				key := w.codec.Key(e)
				text, err := c.Get(ctx, key).Result()
				if tc.offset == 0 {
					if !errors.Is(err, goredis.Nil) {
						t.Fatalf("stored %q, %v", text, err)
					}
					return
				}
				if v, err := w.codec.Parse(key, text); err != nil || v.Position.Offset != tc.offset || v.Expires != tc.expiry {
					t.Errorf("stored %+v, %v", v, err)
				}
			})
		})
	}
}

// TestAScriptThatMayNotLookDoesNotWrite: an error that is not that of another type
// must not be taken for a key that may be written over.
func TestAScriptThatMayNotLookDoesNotWrite(t *testing.T) {
	s := startReal(t)
	ctx, c, w := t.Context(), connect(t, s), idleWriter(t, s)
	track := w.Open(3)
	if err := writeNow(ctx, w, track, update(entityNumber(1), 9, 50)); err != nil {
		t.Fatal(err)
	}
	if err := c.Do(ctx, "acl", "setuser", "default", "-getrange").Err(); err != nil {
		t.Fatal(err)
	}
	if err := writeNow(ctx, w, track, update(entityNumber(1), 5, 60)); err == nil {
		t.Error("written without a look at what was there")
	}
	if got := testutil.ToFloat64(w.metrics.errors[reasonDenied]); got == 0 {
		t.Error("not counted as denied")
	}
	if err := c.Do(ctx, "acl", "setuser", "default", "+getrange").Err(); err != nil {
		t.Fatal(err)
	}
	text, err := c.Get(ctx, w.codec.Key(entityNumber(1))).Result()
	if v, parseErr := w.codec.Parse(w.codec.Key(entityNumber(1)), text); err != nil || parseErr != nil || v.Position.Offset != 9 {
		t.Errorf("stored %+v (%v, %v)", v, err, parseErr)
	}
}

// TestTheScriptCutsBehindTheLongestScore: the number stands in its text.
func TestTheScriptCutsBehindTheLongestScore(t *testing.T) {
	if want := fmt.Sprintf("'GETRANGE', KEYS[1], 0, %d)", score.MaxValueBytes); !strings.Contains(putScript, want) {
		t.Errorf("%s is not in the script", want)
	}
}
