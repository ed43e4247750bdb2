package redis

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/score"
)

// MaxEntities limits the entities of one look-up.
const MaxEntities = 64

// ErrBadValue means that some stored values are not valid scores. They count as
// absent; the other values are good.
var ErrBadValue = errors.New("stored value is no score")

// Reader looks up scores.
type Reader struct {
	cfg     Config
	codec   *score.Codec
	client  goredis.UniversalClient
	log     *slog.Logger
	now     func() time.Time
	metrics *readerMetrics
	alarm   seldom
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
	}, nil
}

// Close ends the connections.
func (r *Reader) Close() error { return r.client.Close() }

// Ready reports whether Redis answers, and lets us read.
func (r *Reader) Ready(ctx context.Context) error {
	return ready(ctx, r.client, r.cfg)
}

// Get looks up the scores of entities in one round trip, which ends with ctx. The
// result has one value per entity, in order; the zero value if none is stored, or
// it has expired. With [ErrBadValue] the result is usable; with any other error
// there is none.
func (r *Reader) Get(ctx context.Context, entities []facet.Entity) ([]score.Value, error) {
	if len(entities) == 0 {
		return nil, nil
	}
	if len(entities) > MaxEntities {
		return nil, fmt.Errorf("redis: look up %d entities, more than %d", len(entities), MaxEntities)
	}
	keys := make([]string, len(entities))
	for i, e := range entities {
		keys[i] = r.codec.Key(e)
	}
	start := time.Now()
	found, err := r.fetch(ctx, keys)
	r.metrics.reads.Inc()
	r.metrics.seconds.Observe(time.Since(start).Seconds())
	if err != nil {
		r.metrics.errors[reasonOf(err)].Inc()
		return nil, fmt.Errorf("redis: look up %d entities: %w", len(keys), err)
	}
	return r.decode(keys, found)
}

// found is the content of a key: a text, "" if the key is missing, or something
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

// decode decodes what was found. Each value is checked separately: its code proves
// that it was written for its key.
func (r *Reader) decode(keys []string, all []found) (values []score.Value, err error) {
	values = make([]score.Value, len(all))
	now := r.now().UnixMilli()
	for i, f := range all {
		v, reason := r.parse(keys[i], f)
		switch {
		case reason != "":
			r.bad(reason, keys[i])
			err = fmt.Errorf("redis: %w (%s)", ErrBadValue, reason)
		case v.Expires > now:
			values[i] = v
		}
	}
	return values, err
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
