package redis

import (
	"context"
	"errors"
	"fmt"
	"time"

	goredis "github.com/redis/go-redis/v9"

	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/score"
)

// MaxEntities is how many entities one look-up may name.
const MaxEntities = 64

// Errors of a look-up.
var (
	// ErrMismatch says that a value belongs to another entity than was asked
	// for: replies are mixed up, and none of them is to be trusted.
	ErrMismatch = errors.New("score of another entity")
	// ErrCorrupt says that some values could not be read. The others are good.
	ErrCorrupt = errors.New("unreadable score")
)

// Reader looks scores up.
type Reader struct {
	cfg     Config
	secret  []byte
	client  goredis.UniversalClient
	metrics *readerMetrics
}

// NewReader checks cfg and reads the files it names. It connects to nothing.
func NewReader(cfg Config, deps Dependencies) (*Reader, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	secret, err := cfg.secret(deps.Secret)
	if err != nil {
		return nil, err
	}
	client, err := cfg.client(cfg.ReadTimeout, cfg.PoolSize)
	if err != nil {
		return nil, err
	}
	return &Reader{cfg: cfg, secret: secret, client: client, metrics: newReaderMetrics(deps.Registerer)}, nil
}

// Close ends the connections.
func (r *Reader) Close() error { return r.client.Close() }

// Ready reports whether Redis answers.
func (r *Reader) Ready(ctx context.Context) error {
	if err := r.client.Ping(ctx).Err(); err != nil {
		return fmt.Errorf("redis: ping: %w", err)
	}
	return nil
}

// Get looks up the scores of entities in one round trip, which ends with ctx.
// The answer holds one value an entity, in order; the zero value where none is
// stored. With [ErrCorrupt] the answer is still of use, with any other error
// there is none.
func (r *Reader) Get(ctx context.Context, entities []facet.Entity) ([]score.Value, error) {
	if len(entities) == 0 {
		return nil, nil
	}
	if len(entities) > MaxEntities {
		return nil, fmt.Errorf("redis: look up %d entities, more than %d", len(entities), MaxEntities)
	}
	digests, keys := make([]string, len(entities)), make([]string, len(entities))
	for i, e := range entities {
		digests[i] = score.Digest(r.secret, e)
		keys[i] = score.KeyOf(r.cfg.KeyPrefix, e.Kind, digests[i])
	}
	start := time.Now()
	texts, err := r.fetch(ctx, keys)
	r.metrics.reads.Inc()
	r.metrics.seconds.Observe(time.Since(start).Seconds())
	if err != nil {
		r.metrics.errors[reasonOf(err)].Inc()
		return nil, fmt.Errorf("redis: look up %d entities: %w", len(keys), err)
	}
	return r.decode(entities, digests, texts)
}

// fetch gets texts, "" where there is none. A cluster has the keys in as many
// slots as there are entities, and one MGET may not span slots.
func (r *Reader) fetch(ctx context.Context, keys []string) ([]string, error) {
	if r.cfg.Cluster {
		return r.fetchEach(ctx, keys)
	}
	values, err := r.client.MGet(ctx, keys...).Result()
	if err != nil {
		return nil, err
	}
	if len(values) != len(keys) {
		return nil, ErrMismatch
	}
	texts := make([]string, len(keys))
	for i, v := range values {
		texts[i], _ = v.(string)
	}
	return texts, nil
}

func (r *Reader) fetchEach(ctx context.Context, keys []string) ([]string, error) {
	gets := make([]*goredis.StringCmd, len(keys))
	_, err := r.client.Pipelined(ctx, func(pipe goredis.Pipeliner) error {
		for i, key := range keys {
			gets[i] = pipe.Get(ctx, key)
		}
		return nil
	})
	if err != nil && !errors.Is(err, goredis.Nil) {
		return nil, err
	}
	texts := make([]string, len(keys))
	for i, get := range gets {
		if texts[i], err = get.Result(); err != nil && !errors.Is(err, goredis.Nil) {
			return nil, err
		}
	}
	return texts, nil
}

func (r *Reader) decode(entities []facet.Entity, digests, texts []string) (values []score.Value, err error) {
	values = make([]score.Value, len(entities))
	for i, text := range texts {
		if text == "" {
			continue
		}
		v, parseErr := score.ParseValue([]byte(text))
		if parseErr != nil {
			r.metrics.corrupt.Inc()
			err = fmt.Errorf("%w of kind %s: %w", ErrCorrupt, entities[i].Kind, parseErr)
			continue
		}
		if v.Digest != digests[i] || v.Kind != entities[i].Kind {
			r.metrics.corrupt.Inc()
			return nil, fmt.Errorf("redis: %w: asked for one of kind %s", ErrMismatch, entities[i].Kind)
		}
		values[i] = v
	}
	return values, err
}
