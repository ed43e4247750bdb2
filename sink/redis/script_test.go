package redis

import (
	"context"
	"fmt"
	"testing"
	"time"

	goredis "github.com/redis/go-redis/v9"
	"pgregory.net/rapid"

	"github.com/weirdev/weir/score"
)

// stored is what the script should leave behind.
type stored struct {
	there    bool
	position score.Position
	expires  int64
	weight   uint8
}

// apply is the script in Go, for values that have not expired.
func (s *stored) apply(v score.Value) (written bool) {
	if s.there && v.Position.Less(s.position) {
		return false
	}
	*s = stored{true, v.Position, max(v.Expires, s.expires), v.Contributions[0].Weight}
	return true
}

func drawValue(t *rapid.T, digest string, now int64) score.Value {
	v := score.Value{Kind: 1, Digest: digest, Expires: now + rapid.Int64Range(60_000, 90_000_000).Draw(t, "expires")}
	v.Position = score.Position{
		Incarnation: rapid.Uint64Range(9, 11).Draw(t, "incarnation"),
		Offset:      rapid.OneOf(rapid.Int64Range(9, 11), rapid.Int64Range(1<<53-2, 1<<53+2)).Draw(t, "offset"),
		Index:       rapid.Int32Range(0, 2).Draw(t, "index"),
	}
	v.Contributions = []score.Contribution{{
		Rule: "r", Category: "bot", Reason: "why", HalfLife: 60, Time: now, Weight: uint8(rapid.IntRange(1, 100).Draw(t, "weight")),
	}}
	return v
}

func run(ctx context.Context, c *goredis.Client, key string, v score.Value) (int64, error) {
	position, err := score.AppendPosition(nil, v.Position)
	if err != nil {
		return 0, err
	}
	body, err := score.AppendBody(nil, v)
	if err != nil {
		return 0, err
	}
	return c.Eval(ctx, putScript, []string{key}, position, v.Expires, body).Int64()
}

func TestNoOrderOfWritesPutsOlderOverNewer(t *testing.T) {
	onEach(t, func(t *testing.T, s server) {
		ctx, c, n := t.Context(), connect(t, s), 0
		now := time.Now().UnixMilli()
		rapid.Check(t, func(t *rapid.T) {
			n++
			key, model := fmt.Sprintf("k:%d", n), stored{}
			for range rapid.IntRange(1, 12).Draw(t, "writes") {
				v := drawValue(t, "abcdefghijklmnopqrst", now)
				written, err := run(ctx, c, key, v)
				if err != nil {
					t.Fatal(err)
				}
				if want := model.apply(v); (written == 1) != want {
					t.Fatalf("%+v: written %d, want %v", v.Position, written, want)
				}
				checkStored(ctx, t, c, key, model)
			}
		})
	})
}

func checkStored(ctx context.Context, t *rapid.T, c *goredis.Client, key string, want stored) {
	text, err := c.Get(ctx, key).Bytes()
	if err != nil {
		t.Fatal(err)
	}
	got, err := score.ParseValue(text)
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

func TestTheScript(t *testing.T) {
	now := time.Now().UnixMilli()
	value := func(offset, expires int64) score.Value {
		return score.Value{Kind: 1, Digest: "abcdefghijklmnopqrst", Position: score.Position{Offset: offset}, Expires: expires}
	}
	for _, tc := range []struct {
		name    string
		before  func(ctx context.Context, c *goredis.Client, key string) error
		put     score.Value
		written int64
		expires int64 // 0: no key
	}{
		{"a value that has expired is born expired", nil, value(1, now-1000), 1, 0},
		{"a cleared score that nothing precedes leaves no key", nil, value(1, 0), 1, 0},
		{"a cleared score lasts as long as what it clears", func(ctx context.Context, c *goredis.Client, key string) error {
			_, err := run(ctx, c, key, value(1, now+100_000))
			return err
		}, value(2, 0), 1, now + 100_000},
		{"an old one after a cleared one is refused", func(ctx context.Context, c *goredis.Client, key string) error {
			_, err := run(ctx, c, key, value(3, now+100_000))
			return err
		}, value(2, now+900_000), 0, now + 100_000},
		{"a value of another form is overwritten", func(ctx context.Context, c *goredis.Client, key string) error {
			return c.Set(ctx, key, `{"score":"99"}`, 0).Err()
		}, value(2, now+100_000), 1, now + 100_000},
		{"a key of another type is overwritten", func(ctx context.Context, c *goredis.Client, key string) error {
			return c.LPush(ctx, key, "x").Err()
		}, value(2, now+100_000), 1, now + 100_000},
		{"a later version of the form is compared just the same", func(ctx context.Context, c *goredis.Client, key string) error {
			return c.Set(ctx, key, fmt.Sprintf(`00000000000000000000000300000000 {"v":2,"x":%d,"new":true}`, now+100_000), 0).Err()
		}, value(2, now+900_000), 0, now + 100_000},
		{"the longest expiry is written to the digit", nil, value(2, 253_402_300_799_999), 1, 253_402_300_799_999},
	} {
		t.Run(tc.name, func(t *testing.T) {
			onEach(t, func(t *testing.T, s server) {
				ctx, c := t.Context(), connect(t, s)
				if tc.before != nil {
					if err := tc.before(ctx, c, "k"); err != nil {
						t.Fatal(err)
					}
				}
				written, err := run(ctx, c, "k", tc.put)
				if err != nil || written != tc.written {
					t.Fatalf("written %d, %v", written, err)
				}
				text, err := c.Get(ctx, "k").Result()
				if tc.expires == 0 {
					if err != goredis.Nil {
						t.Fatalf("stored %q, %v", text, err)
					}
					return
				}
				var position string
				var version int
				var expires int64
				if _, err := fmt.Sscanf(text, `%32s {"v":%d,"x":%d`, &position, &version, &expires); err != nil || expires != tc.expires {
					t.Fatalf("stored %q (%v), want expiry %d", text, err, tc.expires)
				}
			})
		})
	}
}
