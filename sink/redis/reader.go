package redis

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/weirdev/weir/score"
)

// Reader looks scores up.
type Reader struct {
	cfg     Config
	codec   *score.Codec
	client  goredis.UniversalClient
	log     *slog.Logger
	now     func() time.Time
	metrics *readerMetrics
	alarm   seldom

	limits     string // limitScript, or what a test puts in its place
	limitsName string
}

// NewReader checks cfg and reads the files it names. It connects to nothing.
func NewReader(cfg Config, deps Dependencies) (*Reader, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	if err := checkSecret(deps.Secret); err != nil {
		return nil, err
	}
	client, err := cfg.client(cfg.ReadTimeout, cfg.PoolSize)
	if err != nil {
		return nil, err
	}
	return &Reader{
		cfg: cfg, codec: score.NewCodec(deps.Secret, cfg.KeyPrefix), client: client, log: deps.logger(), now: deps.clock(),
		metrics: newReaderMetrics(deps.Registerer),
		limits:  limitScript, limitsName: scriptName(limitScript),
	}, nil
}

// Close ends the connections.
func (r *Reader) Close() error { return r.client.Close() }

// Ready reports whether Redis answers, and lets us read.
func (r *Reader) Ready(ctx context.Context) error {
	return ready(ctx, r.client, r.cfg)
}

// Fetch looks up what stands under keys in one round trip, which ends with ctx. The
// answer holds one value a key, in order; the zero value where none is stored, or one
// that has expired. bad says where something is stored that is no score of ours.
func (r *Reader) Fetch(ctx context.Context, keys []string) (values []score.Value, bad []bool, err error) {
	if len(keys) == 0 {
		return nil, nil, nil
	}
	start := time.Now()
	found, err := r.fetch(ctx, keys)
	r.metrics.reads.Inc()
	r.metrics.seconds.Observe(time.Since(start).Seconds())
	if err != nil {
		r.metrics.errors[reasonOf(err)].Inc()
		return nil, nil, fmt.Errorf("redis: look up %d keys: %w", len(keys), err)
	}
	values, bad = r.decode(keys, found)
	return values, bad, nil
}

// Codec is that of the keys and values.
func (r *Reader) Codec() *score.Codec { return r.codec }

// found is what stands under a key: a text, "" where there is none, or something
// that is no text.
type found struct {
	text      string
	wrongType bool
}

// fetch reads keys, each cut after the length of the longest score. MGET would
// return any stored length, and in a cluster it may not span slots.
func (r *Reader) fetch(ctx context.Context, keys []string) ([]found, error) {
	gets := make([]*goredis.StringCmd, len(keys))
	_, err := r.client.Pipelined(ctx, func(pipe goredis.Pipeliner) error {
		for i, key := range keys {
			gets[i] = pipe.GetRange(ctx, key, 0, score.MaxValueBytes)
		}
		return nil
	})
	if err != nil && !isWrongType(err) {
		return nil, err
	}
	all := make([]found, len(keys))
	for i, get := range gets {
		text, err := get.Result()
		if err != nil && !isWrongType(err) {
			return nil, err
		}
		all[i] = found{text, err != nil}
	}
	return all, nil
}

func isWrongType(err error) bool { return goredis.HasErrorPrefix(err, "WRONGTYPE") }

// decode reads what was found. Each value stands for itself: its code says that it
// was written for its key.
func (r *Reader) decode(keys []string, all []found) (values []score.Value, bad []bool) {
	values, bad = make([]score.Value, len(all)), make([]bool, len(all))
	now := r.now().UnixMilli()
	for i, f := range all {
		v, reason := r.parse(keys[i], f)
		switch {
		case reason != "":
			r.bad(reason, keys[i])
			bad[i] = true
		case v.Expires > now:
			values[i] = v
		}
	}
	return values, bad
}

// parse says why a value is invalid; "" if it is a score, or absent.
func (r *Reader) parse(key string, f found) (v score.Value, reason string) {
	switch {
	case f.wrongType:
		return v, reasonType
	case f.text == "":
		return v, ""
	}
	v, err := r.codec.Parse(key, f.text)
	if err != nil {
		return score.Value{}, reasonOfValue(err)
	}
	return v, ""
}

// bad counts an invalid value.
func (r *Reader) bad(reason, key string) {
	r.metrics.bad[reason].Inc()
	if r.alarm.due(r.now()) {
		r.log.Error("redis holds something that is no score of ours; it counts as none. Somebody else writes to it, unless workers of another version do",
			"reason", reason, "key", key)
	}
}
