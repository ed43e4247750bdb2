package redis

import (
	"context"
	"fmt"
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
