package dashboards

import (
	"fmt"
	"strings"
)

// value is the value of a variable as a text of SQL. It may be anything: users type it,
// and links carry names of entities, which clients choose. What percentencode leaves
// has no quote and no backslash, so the text cannot end early.
func value(variable string) string {
	return "decodeURLComponent('${" + variable + ":percentencode}')"
}

// ifGiven is a condition that holds for everything while the variable is empty, or All.
func ifGiven(condition, variable string) string {
	return fmt.Sprintf("$__conditionalAll(%s, $%s)", condition, variable)
}

// kinds lists the kinds of entities with the column of v_events AS e that names them.
func kinds() [][2]string {
	return [][2]string{
		{"account", "e.account"}, {"ip", "e.client_ip"}, {"device", "e.device"}, {"session", "e.session"}, {"token", "if(e.token_family != '', e.token_family, e.token)"},
		{"net", "e.net"}, {"asn", "toString(e.asn)"}, {"ja4", "e.ja4"}, {"build", "e.build"}, {"route", "e.route"}, {"tenant", "e.tenant"}, {"country", "e.country"},
		{"key", "e.key_id"}, {"attestation", "e.attestation_id"},
	}
}

// kindNames lists the kinds, and net16, which is no column of events.
func kindNames() (names []string) {
	for _, k := range kinds() {
		names = append(names, k[0])
	}
	return append(names, "net16")
}

// eventsOfEntity is a condition on v_events AS e: the events of the entity that the
// variables kind, entity and tenant name. All but one of its alternatives are false for
// any row, which ClickHouse sees before it reads.
func eventsOfEntity() string {
	var all []string
	for _, k := range kinds() {
		all = append(all, fmt.Sprintf("(%s = '%s' AND %s = %s)", value("kind"), k[0], k[1], value("entity")))
	}
	all = append(all, fmt.Sprintf("(%[1]s = 'net16' AND e.client_ip != '' AND isIPAddressInRange(splitByChar('/', e.client_ip)[1], if(%[1]s = 'net16', %[2]s, '::/128')))", value("kind"), value("entity")))
	return "(" + strings.Join(all, "\n\t\t\t\tOR ") + ")\n\t\t\t\tAND " + ifGiven("e.tenant = "+value("tenant"), "tenant")
}

// timeline is a table of the events of that entity, with the columns that v_entity_events
// has. That view answers at once, for the three kinds that it has; v_events is only read
// for others.
func timeline() string {
	const columns = `time, tenant, account, device, client_ip, method, route, object_type, object, status, auth, signature, decision_action, country, city, asn, anonymiser`
	return `(
						SELECT ` + columns + `
						FROM v_entity_events AS c
						WHERE $__timeFilter(c.time) AND c.entity_kind = ` + value("kind") + ` AND c.entity = ` + value("entity") + ` AND ` + ifGiven("c.tenant = "+value("tenant"), "tenant") + `
						UNION ALL
						SELECT ` + columns + `
						FROM v_events AS e
						WHERE $__timeFilter(e.time) AND ` + value("kind") + ` NOT IN ('account', 'device', 'ip') AND ` + eventsOfEntity() + `
					)`
}

// signalColumns are the columns of v_signals that the dashboards of a rule and of a
// campaign use.
const signalColumns = `rule, rules_version, tenant, entity_kind, entity, group_kind, group_key, category, phase, tier, weight, clears, evidence, time, late, stream, incarnation, src_partition, src_offset`

// notGiven holds while the variable is empty, or All. It is a constant, which ClickHouse
// sees before it reads.
func notGiven(variable string) string { return ifGiven("1 = 0", variable) }

// signalsOfRule is a table of the signals of the rule that the variable rule names, or of
// all rules. v_named_signals finds those of one rule at once; v_signals is only read for
// all of them.
func signalsOfRule() string {
	return `(
						SELECT ` + signalColumns + `
						FROM v_named_signals AS n
						WHERE $__timeFilter(n.time) AND NOT ` + notGiven("rule") + ` AND found_by = 'rule' AND name_kind = '' AND name = ` + value("rule") + `
						UNION ALL
						SELECT ` + signalColumns + `
						FROM v_signals AS a
						WHERE $__timeFilter(a.time) AND ` + notGiven("rule") + `
					)`
}

// signalsOfCampaign is the same of the rule and the group that the variables name, of
// either, or of all. A group is named by its key alone, whatever its kind.
func signalsOfCampaign() string {
	return `(
						SELECT ` + signalColumns + `
						FROM v_named_signals AS n
						WHERE $__timeFilter(n.time) AND clears = 0 AND NOT ` + notGiven("rule") + ` AND found_by = 'rule' AND name_kind = '' AND name = ` + value("rule") + ` AND ` + ifGiven("group_key = "+value("group"), "group") + `
						UNION ALL
						SELECT ` + signalColumns + `
						FROM v_named_signals AS g
						WHERE $__timeFilter(g.time) AND clears = 0 AND ` + notGiven("rule") + ` AND NOT ` + notGiven("group") + ` AND found_by = 'group' AND name = ` + value("group") + `
						UNION ALL
						SELECT ` + signalColumns + `
						FROM v_signals AS a
						WHERE $__timeFilter(a.time) AND clears = 0 AND ` + notGiven("rule") + ` AND ` + notGiven("group") + `
					)`
}

// signalsOfEntity is a condition on v_named_signals for the same entity.
func signalsOfEntity() string {
	return fmt.Sprintf("found_by = 'entity' AND name_kind = %s AND name = %s AND %s", value("kind"), value("entity"), ifGiven("tenant = "+value("tenant"), "tenant"))
}

// auditOfEntity is a condition on v_audit for the same entity.
func auditOfEntity() string {
	return fmt.Sprintf("entity_kind = %s AND entity = %s AND %s", value("kind"), value("entity"), ifGiven("tenant = "+value("tenant"), "tenant"))
}

// decisionsOfEntity is a condition on v_decisions for the same entity.
func decisionsOfEntity() string {
	return fmt.Sprintf("entities[%s] = %s AND %s", value("kind"), value("entity"), ifGiven("tenant = "+value("tenant"), "tenant"))
}

// longestMemory bounds how far back a score is computed from signals. The longest
// half-life of the built-in rules is a day, of which seven leave less than a point.
const longestMemory = "INTERVAL 7 DAY"

// contributions are common table expressions: what the signals of a view that satisfy the
// condition fired contribute to the score of their entity, from when (at) until the rule,
// a label or a release withdraws it, and when challenges were passed that halve it. said
// is the condition on v_audit. Times are Unix seconds.
func contributions(view, fired, said string) string {
	const bounds = " >= $__fromTime - " + longestMemory + " AND "
	return `said AS (
		SELECT entity_kind, entity, tenant, groupArray((action, rule, category, toUnixTimestamp64Milli(a.time) / 1000)) AS statements
		FROM v_audit AS a
		WHERE a.time` + bounds + `a.time <= $__toTime AND action != 'true_positive' AND ` + said + `
		GROUP BY entity_kind, entity, tenant
	),
	fired AS (
		SELECT entity_kind, entity, tenant, rule, category, reason, phase, lowers, weight, greatest(half_life_s, 1) AS half_life,
			toUnixTimestamp64Milli(s.time) / 1000 AS at,
			minIf(toUnixTimestamp64Milli(s.time) / 1000, clears = 1) OVER (
				PARTITION BY entity_kind, entity, tenant, rule ORDER BY s.time ROWS BETWEEN CURRENT ROW AND UNBOUNDED FOLLOWING
			) AS cleared
		FROM ` + view + ` AS s
		WHERE s.time` + bounds + `s.time <= $__toTime AND ` + fired + `
	),
	contributions AS (
		SELECT f.*, arrayFilter(c -> c.4 >= f.at, said.statements) AS later,
			arrayMin(arrayConcat([if(f.cleared = 0, 1e12, f.cleared)], arrayMap(c -> c.4, arrayFilter(
				c -> c.1 IN ('release', 'erase') OR c.1 = 'false_positive' AND (c.2 = f.rule OR c.2 = '' AND f.lowers = 0), later)))) AS until,
			arrayMap(c -> c.4, arrayFilter(c -> c.1 = 'challenge_passed' AND f.lowers = 0 AND c.3 IN ('', f.category), later)) AS passed
		FROM fired AS f
		LEFT JOIN said USING (entity_kind, entity, tenant)
	)`
}

// worth is what a contribution is worth at t, as a fraction of 1.
const worth = "weight / 100 * exp2(-(t - at) / half_life - arrayCount(p -> p <= t, passed))"

// scores is a query for the scores by keys, of rows that have t (Unix seconds) and
// contributions' columns. acting is the score of the rules that may act, observed that
// of all. The formula is that of docs/redis.md, in floating point.
func scores(keys, from string) string {
	return fmt.Sprintf(`SELECT %[1]s, maxIf(total, level > 0) AS acting, maxIf(total, level = 0) AS observed
		FROM (
			SELECT %[1]s, level,
				100 * (1 - exp(sumIf(log(1 - raised * kept), category != 'any'))) * exp(sumIf(log(kept), category = 'any')) AS total
			FROM (
				SELECT %[1]s, level, category, 1 - exp(sumIf(log(1 - worth), lowers = 0)) AS raised, exp(sumIf(log(1 - worth), lowers = 1)) AS kept
				FROM (
					SELECT %[1]s, rule, any(category) AS category, any(lowers) AS lowers, any(phase) AS phase, max(%[2]s) AS worth
					FROM %[3]s
					WHERE at <= t AND t < until
					GROUP BY %[1]s, rule
					ORDER BY worth DESC
					LIMIT 8 BY %[1]s
				)
				ARRAY JOIN range(multiIf(phase = 'enforce', 3, phase = 'soft', 2, 1)) AS level
				GROUP BY %[1]s, level, category
			)
			GROUP BY %[1]s, level
		)
		GROUP BY %[1]s`, keys, worth, from)
}

// statusClass is the class of an answer: 2xx, 4xx, …, or refused if Weir had refused the
// request.
const statusClass = "multiIf(decision_action IN ('throttle', 'challenge', 'step_up', 'deny'), 'refused', status = 0, 'none', concat(toString(intDiv(status, 100)), 'xx'))"

// stops is a condition on v_decisions AS d: the request was not served as it came.
const stops = "d.action IN ('throttle', 'challenge', 'step_up', 'deny')"

// Links to the dashboards of one entity and of one rule, from rows that have columns of
// these names.
func toEntity() *link {
	return &link{"Events, signals and score of this entity", "weir-entity", [][2]string{{"kind", "kind"}, {"entity", "entity"}, {"tenant", "tenant"}}}
}

func toRule() *link {
	return &link{"The attack that this rule sees", "weir-attack", [][2]string{{"rule", "rule"}}}
}

// scoreSteps colour a score as the built-in policies act on it.
func scoreSteps() []step { return []step{{20, "yellow"}, {40, "orange"}, {70, "red"}} }
