package redis

import (
	"context"
	"errors"
	"fmt"
	"time"

	goredis "github.com/redis/go-redis/v9"
)

// mostSwitches bounds what is read: anybody who may write there can put more.
const mostSwitches = 20_000

// Switches reads the stored forms of switches, blocks and releases, by id. They are in
// one hash, "<prefix>:switches".
func (r *Reader) Switches(ctx context.Context) (map[string]string, error) {
	key := r.cfg.KeyPrefix + ":switches"
	n, err := r.client.HLen(ctx, key).Result()
	if err != nil {
		return nil, fmt.Errorf("redis: read switches: %w", err)
	}
	if n == 0 {
		return nil, nil
	}
	if n > mostSwitches {
		return nil, fmt.Errorf("redis: %d switches are more than %d: somebody else writes to %s", n, mostSwitches, key)
	}
	forms, err := r.client.HGetAll(ctx, key).Result()
	if err != nil {
		return nil, fmt.Errorf("redis: read switches: %w", err)
	}
	return forms, nil
}

// PutSwitches stores forms by id.
func (r *Reader) PutSwitches(ctx context.Context, forms map[string]string) error {
	if err := r.client.HSet(ctx, r.cfg.KeyPrefix+":switches", forms).Err(); err != nil {
		return fmt.Errorf("redis: write switches: %w", err)
	}
	return nil
}

// DropSwitches removes forms by id, unless something else is stored there by now. It
// removes nothing where others write at the same time.
func (r *Reader) DropSwitches(ctx context.Context, forms map[string]string) error {
	key := r.cfg.KeyPrefix + ":switches"
	err := r.client.Watch(ctx, func(tx *goredis.Tx) error {
		stored, err := tx.HGetAll(ctx, key).Result()
		if err != nil {
			return err
		}
		var ids []string
		for id, form := range forms {
			if stored[id] == form {
				ids = append(ids, id)
			}
		}
		if len(ids) == 0 {
			return nil
		}
		_, err = tx.TxPipelined(ctx, func(pipe goredis.Pipeliner) error {
			pipe.HDel(ctx, key, ids...)
			return nil
		})
		return err
	}, key)
	if err != nil && !errors.Is(err, goredis.TxFailedErr) {
		return fmt.Errorf("redis: remove switches: %w", err)
	}
	return nil
}

// Clock returns the time of the server.
func (r *Reader) Clock(ctx context.Context) (time.Time, error) {
	at, err := r.client.Time(ctx).Result()
	if err != nil {
		return time.Time{}, fmt.Errorf("redis: read the time: %w", err)
	}
	return at, nil
}
