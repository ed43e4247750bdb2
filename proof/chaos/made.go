package chaos

import (
	"context"
	"fmt"
	"strings"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

// checkMade compares the tables that are made from events and signals with those, which
// are checked by themselves: time lines, ids, names of signals, and counts per minute.
func (r *run) checkMade(ctx context.Context, conn driver.Conn, v *verdict) error {
	for _, c := range []struct{ what, stored, wanted string }{
		{"entity_events", timeLines, wantedTimeLines},
		{"event_ids", foundByID, wantedByID},
		{"named_signals", named, wantedNamed},
		{"event_minutes", minutes, wantedMinutes},
		{"entity_minutes", entityMinutes, wantedEntityMinutes},
	} {
		stored, err := r.digest(ctx, conn, c.stored)
		if err != nil {
			return fmt.Errorf("read %s: %w", c.what, err)
		}
		wanted, err := r.digest(ctx, conn, c.wanted)
		if err != nil {
			return fmt.Errorf("read what %s should be: %w", c.what, err)
		}
		v.same(c.what, stored, wanted)
	}
	return nil
}

// digest counts the rows of a query and adds up their hashes.
func (r *run) digest(ctx context.Context, conn driver.Conn, query string) (string, error) {
	query = strings.ReplaceAll(query, "weir.", r.cluster.stack.Config.ClickHouse.Database+".")
	var rows, sum uint64
	if err := conn.QueryRow(r.streamParameter(ctx), "SELECT count(), sum(hash) FROM ("+query+")").Scan(&rows, &sum); err != nil {
		return "", err
	}
	return fmt.Sprintf("%d:%016x", rows, sum), nil
}

// The wanted side says in its own words what each table holds.
const (
	lineHash  = "cityHash64(src_partition, src_offset, owner, time, tenant, account, device, client_ip, method, route, toInt64(status), auth, decision_action, country, toInt64(asn), kind, name)"
	timeLines = `SELECT ` + lineHash + ` AS hash FROM (SELECT *, toString(entity_kind) AS kind, entity AS name FROM weir.entity_events FINAL) WHERE stream = {stream:String}`

	wantedTimeLines = `SELECT ` + lineHash + ` AS hash FROM
(
    SELECT *, 'account' AS kind, account AS name FROM weir.events FINAL WHERE account != ''
    UNION ALL SELECT *, 'device' AS kind, device AS name FROM weir.events FINAL WHERE device != ''
    UNION ALL SELECT *, 'ip' AS kind, client_ip AS name FROM weir.events FINAL WHERE client_ip != ''
) WHERE stream = {stream:String}`

	signalHash = "cityHash64(toString(kind), named, name, rule, facet_partition, facet_offset, facet_index, entity, group_key, weight, time, evidence)"
	named      = `SELECT ` + signalHash + ` AS hash FROM (SELECT *, toString(found_by) AS kind, toString(name_kind) AS named FROM weir.named_signals FINAL) WHERE stream = {stream:String}`

	wantedNamed = `SELECT ` + signalHash + ` AS hash FROM
(
    SELECT *, 'rule' AS kind, '' AS named, rule AS name FROM weir.signals FINAL
    UNION ALL SELECT *, 'entity' AS kind, entity_kind AS named, entity AS name FROM weir.signals FINAL
    UNION ALL SELECT *, 'group' AS kind, group_kind AS named, group_key AS name FROM weir.signals FINAL WHERE group_key != ''
) WHERE stream = {stream:String}`

	foundByID  = `SELECT cityHash64(id_hash, src_partition, src_offset) AS hash FROM weir.event_ids FINAL WHERE stream = {stream:String}`
	wantedByID = `SELECT DISTINCT cityHash64(toUInt32(cityHash64(v)), src_partition, src_offset) AS hash
FROM (SELECT src_partition, src_offset, arrayJoin([id, request_id, trace_id, decision, session, token, token_family, key_id]) AS v FROM weir.events FINAL WHERE stream = {stream:String})
WHERE v != ''`

	minutes = `SELECT cityHash64(minute, tenant, route, method, toInt64(status), auth, decision_action, toUInt64(sum(events)), toInt64(sum(latency_us)), toInt64(sum(bytes))) AS hash
FROM weir.v_event_minutes WHERE stream = {stream:String} GROUP BY minute, tenant, route, method, status, auth, decision_action`
	wantedMinutes = `SELECT cityHash64(toStartOfMinute(time), tenant, route, method, status, auth, decision_action, count(), sum(latency_us), sum(response_bytes)) AS hash
FROM weir.events FINAL WHERE stream = {stream:String} GROUP BY toStartOfMinute(time), tenant, route, method, status, auth, decision_action`

	entityMinutes = `SELECT cityHash64(toString(entity_kind), minute, tenant, entity, toUInt64(sum(events)), toUInt64(sum(failures)), toUInt64(sum(errors))) AS hash
FROM weir.v_entity_minutes WHERE stream = {stream:String} AND entity_kind IN ('account', 'ip', 'country') GROUP BY entity_kind, minute, tenant, entity`
	wantedEntityMinutes = `SELECT cityHash64(kind, toStartOfMinute(time), tenant, name, count(), countIf(auth = 'failure'), countIf(status >= 400)) AS hash FROM
(
    SELECT *, 'account' AS kind, account AS name FROM weir.events FINAL WHERE account != ''
    UNION ALL SELECT *, 'ip' AS kind, client_ip AS name FROM weir.events FINAL WHERE client_ip != ''
    UNION ALL SELECT *, 'country' AS kind, country AS name FROM weir.events FINAL WHERE country != ''
) WHERE stream = {stream:String} GROUP BY kind, toStartOfMinute(time), tenant, name`
)
