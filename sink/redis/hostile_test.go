package redis

import (
	"context"
	"errors"
	"log/slog"
	"maps"
	"math"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	goredis "github.com/redis/go-redis/v9"

	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/score"
)

// hostile is something that somebody who can write Redis puts under a key.
type hostile struct {
	reason string
	put    func(ctx context.Context, c *goredis.Client, key string) error
}

func hostileNames(all map[string]hostile) []string { return slices.Sorted(maps.Keys(all)) }

// genuineText is a score as the writer stores it.
func genuineText(codec *score.Codec, e facet.Entity, offset, expires int64) string {
	text, err := codec.Append(nil, score.Value{
		Kind: e.Kind, Digest: codec.Digest(e), Position: score.Position{Incarnation: 1, Offset: offset}, Expires: expires,
	})
	if err != nil {
		panic(err)
	}
	return string(text)
}

// hostileValues is what may stand under key that is not to be believed.
func hostileValues(codec *score.Codec, key string) map[string]hostile {
	good := genuineText(codec, entityNumber(1_000_000), 1, time.Now().UnixMilli()+100_000)
	kind, id := good[strings.Index(good, `"k":"`):strings.Index(good, `,"s"`)], strings.TrimSuffix(key[strings.Index(key, "{")+1:], "}")
	own := strings.Replace(good, kind, `"k":"account","id":"`+id+`"`, 1)
	greatest := "ffffffff7fffffffffffffff7fffffff" + own[score.PositionLen:]
	text := func(reason, value string) hostile {
		return hostile{reason, func(ctx context.Context, c *goredis.Client, key string) error { return c.Set(ctx, key, value, 0).Err() }}
	}
	expiry := func(x string) string { return greatest[:44] + x + greatest[strings.Index(greatest, `,"k"`):] }
	return map[string]hostile{
		"a clean record at the greatest position": text(reasonForged, greatest),
		"another entity's score":                  text(reasonForged, good),
		"another entity's, with this one's name":  text(reasonForged, own),
		"an expiry at the end of time":            text(reasonForged, expiry("253402300799999")),
		"an expiry beyond the end of time":        text(reasonMalformed, expiry("253402300800000")),
		"an expiry of twenty digits":              text(reasonMalformed, expiry("99999999999999999999")),
		"a negative expiry":                       text(reasonMalformed, expiry("-1")),
		"an expiry that is not a number":          text(reasonMalformed, expiry("nan")),
		"an expiry with an exponent":              text(reasonMalformed, expiry("1e300")),
		"a hexadecimal expiry":                    text(reasonMalformed, expiry("0x7fffffff")),
		"a position of other letters":             text(reasonMalformed, strings.Repeat("z", 32)+own[32:]),
		"a position that is too short":            text(reasonMalformed, "ffffffff"+own[32:]),
		"a position that is too long":             text(reasonMalformed, strings.Repeat("f", 40)+own[32:]),
		"a position in capitals":                  text(reasonMalformed, strings.Repeat("F", 32)+own[32:]),
		"a position beyond 63 bits":               text(reasonMalformed, strings.Repeat("f", 32)+own[32:]),
		"version 1, which anybody can write":      text(reasonVersion, strings.Replace(greatest, `"v":3`, `"v":1`, 1)),
		"a version to come, without its code":     text(reasonVersion, strings.Replace(greatest, `"v":3`, `"v":4`, 1)),
		"other JSON":                              text(reasonMalformed, `{"score":"99"}`),
		"one byte":                                text(reasonMalformed, "x"),
		"bytes that are no text":                  text(reasonMalformed, "\xff\xfe\x00\x80"),
		"an asterisk, which the script knows":     text(reasonMalformed, "*"),
		"more than the longest score":             text(reasonMalformed, strings.Repeat("0", score.MaxValueBytes+1)),
		"a genuine one with something behind it":  text(reasonMalformed, genuineText(codec, entityNumber(1), 1, time.Now().UnixMilli()+100_000)+strings.Repeat(" ", score.MaxValueBytes)),
		"a megabyte":                              text(reasonMalformed, strings.Repeat("0", 1<<20)),
		"a list": {reasonType, func(ctx context.Context, c *goredis.Client, key string) error {
			return remade(ctx, c, key, func() error { return c.LPush(ctx, key, "x").Err() })
		}},
		"a hash": {reasonType, func(ctx context.Context, c *goredis.Client, key string) error {
			return remade(ctx, c, key, func() error { return c.HSet(ctx, key, "a", "b").Err() })
		}},
		"a set": {reasonType, func(ctx context.Context, c *goredis.Client, key string) error {
			return remade(ctx, c, key, func() error { return c.SAdd(ctx, key, "x").Err() })
		}},
		"a stream": {reasonType, func(ctx context.Context, c *goredis.Client, key string) error {
			return remade(ctx, c, key, func() error {
				return c.XAdd(ctx, &goredis.XAddArgs{Stream: key, Values: []string{"a", "b"}}).Err()
			})
		}},
	}
}

// unseen lists what does not stand in a newer score's way: it is written over
// without a look.
var unseen = map[string]bool{
	"another entity's score": true, "another entity's, with this one's name": true, "a genuine one with something behind it": true,
}

func remade(ctx context.Context, c *goredis.Client, key string, put func() error) error {
	if err := c.Del(ctx, key).Err(); err != nil {
		return err
	}
	return put()
}

// TestWhatStrangersStoreIsWrittenOver: the true score is there afterwards, and
// nothing waits.
func TestWhatStrangersStoreIsWrittenOver(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		ctx, c, w := t.Context(), connect(t, s), idleWriter(t, s)
		track, e := w.Open(3), entityNumber(1)
		key := w.codec.Key(e)
		all := hostileValues(w.codec, key)
		for i, name := range hostileNames(all) {
			t.Run(name, func(t *testing.T) {
				if err := all[name].put(ctx, c, key); err != nil {
					t.Fatal(err)
				}
				counted := w.metrics.foreign[all[name].reason]
				before := testutil.ToFloat64(counted)
				if err := writeNow(ctx, w, track, update(e, int64(i), 70)); err != nil {
					t.Fatal(err)
				}
				text, err := c.Get(ctx, key).Result()
				if v, parseErr := w.codec.Parse(key, text); err != nil || parseErr != nil || v.Position.Offset != int64(i) || v.Contributions[0].Weight != 70 {
					t.Errorf("stored %q (%v, %v)", text, err, parseErr)
				}
				want := 1.0
				if unseen[name] {
					want = 0
				}
				if got := testutil.ToFloat64(counted) - before; got != want {
					t.Errorf("counted %v times, want %v", got, want)
				}
				if got := track.Stored(); got != math.MaxInt64 {
					t.Errorf("%d is still to be stored", got)
				}
			})
		}
	})
}

// TestWhatStrangersStoreIsWrittenOverWhenAScoreIsCleared: with nothing to store,
// what is not genuine must be gone.
func TestWhatStrangersStoreIsWrittenOverWhenAScoreIsCleared(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		ctx, c, w := t.Context(), connect(t, s), idleWriter(t, s)
		track, e := w.Open(3), entityNumber(1)
		key := w.codec.Key(e)
		all := hostileValues(w.codec, key)
		for i, name := range hostileNames(all) {
			if err := all[name].put(ctx, c, key); err != nil {
				t.Fatal(err)
			}
			u := score.Update{Entity: e, Position: score.Position{Incarnation: 1, Offset: int64(i)}}
			if err := writeNow(ctx, w, track, u); err != nil {
				t.Fatal(err)
			}
			if n, err := c.Exists(ctx, key).Result(); err != nil || n != 0 {
				t.Errorf("%s: still there (%v)", name, err)
			}
		}
	})
}

// TestLookUpsDoNotBelieveStrangers, and the others they are about are answered.
func TestLookUpsDoNotBelieveStrangers(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		ctx, c, w, r := t.Context(), connect(t, s), idleWriter(t, s), newTestReader(t, testConfig(s))
		if err := writeNow(ctx, w, w.Open(3), update(entityNumber(0), 1, 70)); err != nil {
			t.Fatal(err)
		}
		key := w.codec.Key(entityNumber(1))
		all := hostileValues(w.codec, key)
		for _, name := range hostileNames(all) {
			t.Run(name, func(t *testing.T) {
				if err := all[name].put(ctx, c, key); err != nil {
					t.Fatal(err)
				}
				counted := r.metrics.bad[all[name].reason]
				before := testutil.ToFloat64(counted)
				values, bad, err := r.Fetch(ctx, keysOf(r, entityNumber(1), entityNumber(0), entityNumber(2)))
				if err != nil || len(values) != 3 || !slices.Equal(bad, []bool{true, false, false}) {
					t.Fatalf("%d values, %v", len(values), err)
				}
				if values[0].Kind != 0 || values[1].Contributions[0].Weight != 70 || values[2].Kind != 0 {
					t.Errorf("got %+v", values)
				}
				if got := testutil.ToFloat64(counted) - before; got != 1 {
					t.Errorf("counted %v times", got)
				}
			})
		}
	})
}

// TestAnEndlessValueIsNotFetched: Redis holds up to 512 MB under a key.
func TestAnEndlessValueIsNotFetched(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		ctx, c, w, r := t.Context(), connect(t, s), idleWriter(t, s), newTestReader(t, testConfig(s))
		track, e := w.Open(3), entityNumber(1)
		for _, key := range []string{w.codec.Key(e), track.witness.key} {
			if err := c.SetRange(ctx, key, 64<<20, "x").Err(); err != nil {
				t.Fatal(err)
			}
		}
		found, err := r.fetch(ctx, []string{w.codec.Key(e)})
		if err != nil || len(found[0].text) != score.MaxValueBytes+1 {
			t.Fatalf("%v: %d bytes came", err, len(found[0].text))
		}
		if err := writeNow(ctx, w, track, update(e, 1, 70)); err != nil {
			t.Fatal(err)
		}
		if v := get(t, r, e); v.Position.Offset != 1 {
			t.Errorf("got %+v", v)
		}
	})
}

// TestOneWhoWritesFasterThanWeDoesNotKeepAScoreOut: each time that the writer
// looks, something else stands there.
func TestOneWhoWritesFasterThanWeDoesNotKeepAScoreOut(t *testing.T) {
	s := startFake(t)
	w := idleWriter(t, s)
	key := w.codec.Key(entityNumber(1))
	wr := &write{entry: &entry{entity: entityNumber(1)}, key: key}
	for i := range mostForeign {
		if wr.over == anything {
			t.Fatalf("forced after %d", i)
		}
		if w.yield(wr, strings.Repeat("x", i+1)) {
			t.Fatal("garbage is taken for a newer score")
		}
	}
	if wr.over != anything {
		t.Errorf("over %q", wr.over)
	}
}

func TestAnythingIsWrittenOverInTheEnd(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		ctx, c, w := t.Context(), connect(t, s), idleWriter(t, s)
		track, e := w.Open(3), entityNumber(1)
		if err := w.loadScripts(ctx); err != nil {
			t.Fatal(err)
		}
		wr := &write{entry: &entry{track: track, entity: e, position: score.Position{Incarnation: 1, Offset: 5}},
			key: w.codec.Key(e), digest: w.codec.Digest(e), expires: time.Now().UnixMilli() + 100_000, over: anything}
		if err := hostileValues(w.codec, wr.key)["a clean record at the greatest position"].put(ctx, c, wr.key); err != nil {
			t.Fatal(err)
		}
		failed := make([]error, 1)
		if again := w.round(ctx, []*write{wr}, failed); len(again) != 0 || failed[0] != nil {
			t.Fatalf("%d to be sent again, %v", len(again), failed[0])
		}
		text, err := c.Get(ctx, wr.key).Result()
		if v, parseErr := w.codec.Parse(wr.key, text); err != nil || parseErr != nil || v.Position.Offset != 5 {
			t.Errorf("stored %q (%v, %v)", text, err, parseErr)
		}
	})
}

// TestAValueThatChangesWithEachTryIsTriedAgainLater, and does not hold the batch.
func TestAValueThatChangesWithEachTryIsTriedAgainLater(t *testing.T) {
	ctx, s := t.Context(), startFake(t)
	w := idleWriter(t, s)
	track, e := w.Open(3), entityNumber(1)
	if err := w.loadScripts(ctx); err != nil {
		t.Fatal(err)
	}
	wr := &write{entry: &entry{track: track, entity: e, position: score.Position{Incarnation: 1, Offset: 5}},
		key: w.codec.Key(e), digest: w.codec.Digest(e), expires: 1, rounds: mostRounds - 1}
	if err := s.Set(wr.key, genuineText(w.codec, e, 4, time.Now().UnixMilli()+100_000)); err != nil {
		t.Fatal(err)
	}
	failed := make([]error, 1)
	if again := w.round(ctx, []*write{wr}, failed); len(again) != 0 || !errors.Is(failed[0], errContended) {
		t.Errorf("%d to be sent again, %v", len(again), failed[0])
	}
}

// TestAGenuineScoreThatComesInBetweenIsRespected: the writer has judged a forged
// value, and before it writes over it a newer genuine one is there.
func TestAGenuineScoreThatComesInBetweenIsRespected(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		ctx, c, w := t.Context(), connect(t, s), idleWriter(t, s)
		track, e := w.Open(3), entityNumber(1)
		if err := writeNow(ctx, w, track, update(e, 9, 90)); err != nil {
			t.Fatal(err)
		}
		wr := &write{entry: &entry{track: track, entity: e, position: score.Position{Incarnation: 1, Offset: 5}},
			key: w.codec.Key(e), digest: w.codec.Digest(e), expires: time.Now().UnixMilli() + 1, over: "something forged"}
		if again := w.round(ctx, []*write{wr}, make([]error, 1)); len(again) != 0 || testutil.ToFloat64(w.metrics.refused) != 1 {
			t.Errorf("%d to be sent again, %v refused", len(again), testutil.ToFloat64(w.metrics.refused))
		}
		text, err := c.Get(ctx, wr.key).Result()
		if v, parseErr := w.codec.Parse(wr.key, text); err != nil || parseErr != nil || v.Position.Offset != 9 {
			t.Errorf("stored %+v (%v, %v)", v, err, parseErr)
		}
	})
}

// TestAGenuineScoreInTheWayIsCompared, of whatever version: its code says so, though
// its body may not be read.
func TestAGenuineScoreInTheWayIsCompared(t *testing.T) {
	w := idleWriter(t, startFake(t))
	wr := &write{entry: &entry{position: score.Position{Incarnation: 1, Offset: 5}}, key: w.codec.Key(entityNumber(1)), expires: 7}
	stored := func(offset, expires int64) string { return genuineText(w.codec, entityNumber(1), offset, expires) }
	if !w.yield(wr, stored(6, 1)) {
		t.Error("a newer one is written over")
	}
	if w.yield(wr, stored(5, 8)) || wr.expires != 8 {
		t.Errorf("the same position: expiry %d", wr.expires)
	}
	if w.yield(wr, stored(4, 9)) || wr.expires != 9 {
		t.Errorf("an older one: expiry %d", wr.expires)
	}
	if text := stored(4, 9); w.yield(wr, text) || wr.over != text {
		t.Errorf("an older one is not written over: %q", wr.over)
	}
}

// TestARepeatedExpiredScoreIsNone: a genuine one that somebody kept and put back.
func TestARepeatedExpiredScoreIsNone(t *testing.T) {
	s := startFake(t)
	codec, e := testCodec(), entityNumber(1)
	if err := s.Set(codec.Key(e), genuineText(codec, e, 1, time.Now().UnixMilli()-1)); err != nil {
		t.Fatal(err)
	}
	if v := get(t, newTestReader(t, testConfig(s)), e); v.Kind != 0 {
		t.Errorf("got %+v", v)
	}
}

// TestGarbageUnderAnOwnersKey neither keeps scores from being written nor is
// believed.
func TestGarbageUnderAnOwnersKey(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		ctx, c := t.Context(), connect(t, s)
		all := hostileValues(testCodec(), testCodec().Key(entityNumber(1)))
		for _, name := range hostileNames(all) {
			t.Run(name, func(t *testing.T) {
				w := idleWriter(t, s)
				track := w.Open(3)
				if err := all[name].put(ctx, c, track.witness.key); err != nil {
					t.Fatal(err)
				}
				if err := writeNow(ctx, w, track, update(entityNumber(1), 1, 70)); err != nil {
					t.Fatal(err)
				}
				if track.Forgotten() {
					t.Error("what stood there before us is taken for a loss")
				}
				if err := all[name].put(ctx, c, track.witness.key); err != nil {
					t.Fatal(err)
				}
				if w.beat(ctx); !track.Forgotten() || testutil.ToFloat64(w.metrics.forgotten) != 1 {
					t.Errorf("what took its place is not taken for a loss; %v are counted", testutil.ToFloat64(w.metrics.forgotten))
				}
				if w.beat(ctx); track.witness.forgotten.Load() {
					t.Error("it is not ours again")
				}
			})
		}
	})
}

// TestWhoScribblesOnTheOwnersKeyDoesNotKeepThePartitionAtPutting: a loss now and
// then is told at once, one each second ever more seldom.
func TestWhoScribblesOnTheOwnersKeyDoesNotKeepThePartitionAtPutting(t *testing.T) {
	now := time.UnixMilli(1)
	w := &Writer{log: slog.New(slog.DiscardHandler), now: func() time.Time { return now }}
	track := &Track{w: w, witness: newWitness("weir:risk", 3)}
	told := func(every time.Duration, times int) (n int) {
		for range times {
			now = now.Add(every)
			track.witness.forgotten.Store(true)
			if track.Forgotten() {
				n++
			}
		}
		return n
	}
	if n := told(5*time.Second, 10); n != 10 {
		t.Errorf("of ten losses with five seconds between them %d are told", n)
	}
	if n := told(time.Second, 600); n > 20 || n < 10 {
		t.Errorf("in ten minutes of losses %d are told", n)
	}
	if n := told(5*time.Minute, 3); n != 3 {
		t.Errorf("of three losses in calm times %d are told", n)
	}
}
