package app

import (
	"context"
	"errors"
	"fmt"
	"time"

	ch "github.com/ClickHouse/clickhouse-go/v2"

	"github.com/weirdev/weir/app/controls"
	"github.com/weirdev/weir/sink/clickhouse"
)

// MostMembers limits the members of a group that are labelled at once.
const MostMembers = 10_000

// membersTime limits the query for the members of a group.
const membersTime = 30 * time.Second

// LabelsOfMembers turns what is said about a group into labels of its members: one for
// each entity and rule that raised the entity's score within a time because of the group.
// If said names a rule, only that rule counts. Members are of the group's tenant. It writes
// none of them.
func LabelsOfMembers(ctx context.Context, cfg clickhouse.Config, said controls.Control, within time.Duration) ([]controls.Control, error) {
	conn, err := clickhouse.OpenToRead(cfg)
	if err != nil {
		return nil, err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, membersTime)
	defer cancel()
	rows, err := conn.Query(ctx, `SELECT DISTINCT entity_kind, entity, rule FROM v_named_signals
WHERE found_by = 'group' AND name_kind = @kind AND name = @key AND tenant = @tenant AND time > now64(3) - toIntervalSecond(@seconds)
AND weight > 0 AND NOT lowers AND (@rule = '' OR rule = @rule)
ORDER BY entity_kind, entity, rule LIMIT @most`,
		ch.Named("kind", said.Kind), ch.Named("key", said.Key), ch.Named("tenant", said.Tenant), ch.Named("seconds", int64(within.Seconds())),
		ch.Named("rule", said.Rule), ch.Named("most", MostMembers+1))
	if err != nil {
		return nil, fmt.Errorf("ask ClickHouse for the members (clickhouse.addrs): %w", err)
	}
	defer rows.Close()
	var all []controls.Control
	for rows.Next() {
		one := said
		if err := rows.Scan(&one.Kind, &one.Key, &one.Rule); err != nil {
			return nil, fmt.Errorf("ask ClickHouse for the members (clickhouse.addrs): %w", err)
		}
		all = append(all, one)
	}
	switch err := rows.Err(); {
	case err != nil:
		return nil, fmt.Errorf("ask ClickHouse for the members (clickhouse.addrs): %w", err)
	case len(all) == 0:
		return nil, ErrNoMembers
	case len(all) > MostMembers:
		return nil, fmt.Errorf("there are more than %d members: name a rule, or a shorter time; for so many, an exception in the rule is better (docs/rules.md)", MostMembers)
	}
	return all, nil
}

// ErrNoMembers means that no rule has raised the score of a member.
var ErrNoMembers = errors.New("no signal about a member of that group is stored in that time; look at the campaigns in the console, and name kind, key and tenant as they are there")
