package dashboards

import "fmt"

func entity() board {
	return board{
		uid: "weir-entity", title: "Weir: entity",
		about: "One account, device, address or other entity: its score and where it comes from, its events, signals and decisions, and its neighbours. The last row lists entities to look at.",
		variables: []variable{
			{name: "kind", label: "Kind", about: "Kind of the entity, as in rules.", options: kindNames(), initial: "account"},
			{name: "entity", label: "Entity", about: "The entity as events name it, such as user-4711 or 203.0.113.9. An IPv6 address is its /64."},
			{name: "tenant", label: "Tenant", about: "Tenant of the entity; empty: any."},
		},
		rows: []row{
			{"How suspicious is it, and why?", []panel{
				number("Score", "The score of rules that may act, at the end of the time range, computed from signals. Policies act on it.", points, query{sql: `
					WITH ` + contributions("v_named_signals", signalsOfEntity(), auditOfEntity()) + `
					SELECT round(max(acting)) AS score FROM (` + scores("t", "(SELECT *, toUnixTimestamp($__toTime) AS t FROM contributions)") + `)`}, scoreSteps()...).wide(3),
				number("Observed score", "The score if the rules in phase observe counted too.", points, query{sql: `
					WITH ` + contributions("v_named_signals", signalsOfEntity(), auditOfEntity()) + `
					SELECT round(max(observed)) AS score FROM (` + scores("t", "(SELECT *, toUnixTimestamp($__toTime) AS t FROM contributions)") + `)`}, scoreSteps()...).wide(3),
				number("Signals", "Firings of rules about this entity.", count, query{sql: `
					SELECT count() AS signals FROM v_named_signals AS s WHERE $__timeFilter(s.time) AND ` + signalsOfEntity()}).wide(3),
				number("Events", "Requests of this entity.", count, query{sql: `
					SELECT count() AS events FROM ` + timeline() + ` AS e`}).wide(3),
				number("Held back", "Decisions about it other than allow and tag.", count, query{sql: `
					SELECT countIf(` + stops + `) AS requests FROM v_decisions AS d WHERE $__timeFilter(d.time) AND ` + decisionsOfEntity()}, step{1, "orange"}).wide(3),
				number("First event", "Its first event in the time range. An account that was not there yesterday is worth a look of its own.", "dateTimeFromNow", query{sql: `
					SELECT toUnixTimestamp64Milli(min(e.time)) AS first FROM ` + timeline() + ` AS e HAVING count() > 0`}).wide(4),
				number("Last event", "Its last event in the time range.", "dateTimeFromNow", query{sql: `
					SELECT toUnixTimestamp64Milli(max(e.time)) AS last FROM ` + timeline() + ` AS e HAVING count() > 0`}).wide(5),
				graph("Score over time", "The score as it was raised by signals and decayed since: acting of rules that may act, observed of all rules. Signals of up to seven days before the time range count. Dashed: where the built-in policies begin to throttle and to ask for more proof.", points, query{sql: `
					WITH toUnixTimestamp($__fromTime) AS start, toUnixTimestamp($__toTime) AS finish, toUInt32(greatest(1, intDiv(finish - start, 240))) AS step,
					` + contributions("v_named_signals", signalsOfEntity(), auditOfEntity()) + `
					SELECT toDateTime(t) AS time, round(acting, 1) AS acting, round(observed, 1) AS observed
					FROM (` + scores("t", "(SELECT * FROM contributions CROSS JOIN (SELECT arrayJoin(range(start, toUInt32(finish + 1), step)) AS t) AS moments)") + `)
					ORDER BY time WITH FILL FROM $__fromTime TO $__toTime STEP toUInt32(greatest(1, intDiv(toUnixTimestamp($__toTime) - toUnixTimestamp($__fromTime), 240)))`}).wide(14).tall(10).upTo(100).colored(step{40, "orange"}, step{70, "red"}),
				{
					kind: table, title: "What it consists of", unit: "none", width: 10, height: 10, steps: scoreSteps(),
					about: "Contributions to the score at the end of the time range, the greatest first. worth is what is left of the initial weight. Contributions combine like independent evidence; a rule that lowers speaks for the entity.",
					queries: []query{{sql: `
						WITH ` + contributions("v_named_signals", signalsOfEntity(), auditOfEntity()) + `
						SELECT rule, any(c.reason) AS reason, any(c.phase) AS phase, if(any(c.lowers) = 1, 'lowers', 'raises') AS effect, max(c.weight) AS initial,
							round(max(c.points), 1) AS worth, any(c.half_life) AS half_life, fromUnixTimestamp64Milli(toInt64(max(c.at) * 1000)) AS last
						FROM (SELECT *, toUnixTimestamp($__toTime) AS t, 100 * ` + worth + ` AS points FROM contributions WHERE at <= t AND t < until AND weight > 0) AS c
						GROUP BY rule
						HAVING worth >= 0.1
						ORDER BY worth DESC`}},
					columns: []column{{name: "rule", link: toRule(), width: 220}, {name: "worth", unit: points, gauge: true, width: 110}, {name: "half_life", unit: seconds}},
				},
			}},
			{"What did it do?", []panel{
				graph("Requests by status", "Its requests, by the class of their status; refused are those that Weir had refused.", count, query{sql: `
					SELECT $__timeInterval(e.time) AS t,
						` + statusClass + ` AS class,
						count() AS requests
					FROM ` + timeline() + ` AS e
					GROUP BY t, class
					ORDER BY t`}).overTime(),
				graph("Signals by rule", "When which rule fired about it.", count, query{sql: `
					SELECT $__timeInterval(s.time) AS t, rule, count() AS signals
					FROM v_named_signals AS s
					WHERE $__timeFilter(s.time) AND ` + signalsOfEntity() + `
					GROUP BY t, rule
					ORDER BY t`}).overTime(),
				graph("Decisions by action", "What the gates decided about its requests.", count, query{sql: `
					SELECT $__timeInterval(d.time) AS t, action, count() AS decisions
					FROM v_decisions AS d
					WHERE $__timeFilter(d.time) AND ` + decisionsOfEntity() + `
					GROUP BY t, action
					ORDER BY t`}).overTime(),
				list("Signals, newest first", "Each firing with its evidence, and the request that made the rule fire.", query{sql: `
					SELECT s.time AS time, s.rule AS rule, s.weight AS weight, if(s.clears = 1, 'withdrawn', s.reason) AS reason, s.evidence AS evidence,
						e.method AS method, e.path AS path, e.status AS status, e.account AS account, e.client_ip AS ip, e.country AS country
					FROM (SELECT * FROM v_named_signals AS s WHERE $__timeFilter(s.time) AND ` + signalsOfEntity() + ` ORDER BY s.time DESC LIMIT 200) AS s
					LEFT JOIN (SELECT * FROM v_events AS e WHERE $__timeFilter(e.time)) AS e USING (stream, incarnation, src_partition, src_offset)
					ORDER BY time DESC`}, column{name: "rule", link: toRule(), width: 220}, column{name: "evidence", width: 320}, column{name: "time", unit: moment, width: 190}).wide(24),
				list("Events, newest first", "Its last 200 requests. Weir's own refusals have a decision.", query{sql: `
					SELECT e.time AS time, method, route, object_type AS type, object, status, auth, account, client_ip AS ip, country, city, anonymiser, device, signature, decision_action AS decision
					FROM ` + timeline() + ` AS e
					ORDER BY e.time DESC
					LIMIT 200`}, column{name: "time", unit: moment, width: 190}, column{name: "route", width: 260}).wide(24),
				list("Decisions, newest first", "Its last 200 decisions with their reasons. would is the action if every phase were enforce.", query{sql: `
					SELECT d.time AS time, action, would, score, observed_score AS observed, arrayStringConcat(rules, ', ') AS rules, limited_by AS limit, switch, policy, route, degraded, latency_us AS latency, id
					FROM v_decisions AS d
					WHERE $__timeFilter(d.time) AND ` + decisionsOfEntity() + `
					ORDER BY d.time DESC
					LIMIT 200`}, column{name: "time", unit: moment, width: 190}, column{name: "latency", unit: micros}, column{name: "rules", width: 260}).wide(24),
			}},
			{"What do people say about it?", []panel{
				list("Labels and releases", "What was said about it by hand, and why: labels, releases and passed challenges, which change the score, and blocks and releases of gates (gate_…), which do not.", query{sql: `
					SELECT a.time AS time, action, if(rule = '' AND action IN ('false_positive', 'true_positive'), 'all', rule) AS rule, category, who, origin, reason, if(toUnixTimestamp(expires) = 0, NULL, expires) AS expires
					FROM v_audit AS a
					WHERE $__timeFilter(a.time) AND ` + auditOfEntity() + `
					ORDER BY a.time DESC
					LIMIT 100`}, column{name: "time", unit: moment, width: 190}, column{name: "reason", width: 320}).wide(24).tall(6),
			}},
			{"Who and where else?", []panel{
				list("Neighbours", "Other entities of its requests: the accounts behind an address, the devices of an account. signals counts those about the neighbour.", query{sql: fmt.Sprintf(`
					SELECT n.kind AS kind, n.entity AS entity, n.tenant AS tenant, n.requests AS requests, found.signals AS signals, found.heaviest AS heaviest, n.first AS first, n.last AS last
					FROM (
						SELECT other.1 AS kind, other.2 AS entity, tenant, count() AS requests, min(e.time) AS first, max(e.time) AS last
						FROM %[3]s AS e
						ARRAY JOIN [('account', account), ('ip', client_ip), ('device', device)] AS other
						WHERE other.2 != '' AND (other.1, other.2) != (%[1]s, %[2]s)
						GROUP BY kind, entity, tenant
						ORDER BY requests DESC
						LIMIT 200
					) AS n
					LEFT JOIN (
						SELECT entity_kind AS kind, entity, tenant, count() AS signals, max(weight) AS heaviest
						FROM v_signals AS s
						WHERE $__timeFilter(s.time) AND clears = 0
						GROUP BY kind, entity, tenant
					) AS found USING (kind, entity, tenant)
					ORDER BY heaviest DESC, requests DESC
					LIMIT 100`, value("kind"), value("entity"), timeline())}, column{name: "entity", link: toEntity(), width: 220}),
				list("Places and networks", "Where its requests came from, the newest first.", query{sql: `
					SELECT country, city, asn, any(e.anonymiser) AS anonymiser, count() AS requests, uniqExact(client_ip) AS addresses, min(e.time) AS first, max(e.time) AS last
					FROM ` + timeline() + ` AS e
					GROUP BY country, city, asn
					ORDER BY last DESC
					LIMIT 50`}, column{name: "asn", unit: "none", width: 80}),
				{
					kind: places, title: "Map", unit: count, width: 12, height: 10,
					about: "Where its requests came from. The size of a circle is the number of requests.",
					queries: []query{{sql: `
						SELECT any(city) AS city, latitude_udeg / 1e6 AS latitude, longitude_udeg / 1e6 AS longitude, count() AS size, countIf(status >= 400) AS weight
						FROM v_events AS e
						WHERE $__timeFilter(e.time) AND (latitude_udeg != 0 OR longitude_udeg != 0) AND ` + eventsOfEntity() + `
						GROUP BY latitude, longitude
						ORDER BY size DESC
						LIMIT 500`}},
				},
				list("Routes", "What it asks for, and how that ends.", query{sql: `
					SELECT route, method, count() AS requests, countIf(status >= 400) / requests AS failed, uniqExact(object) AS objects, min(e.time) AS first, max(e.time) AS last
					FROM ` + timeline() + ` AS e
					GROUP BY route, method
					ORDER BY requests DESC
					LIMIT 50`}, column{name: "failed", unit: share}, column{name: "route", width: 240}).tall(10),
			}},
			{"Somebody else", []panel{
				list("Entities with signals", "Entities with the heaviest signals in the time range, to look at next.", query{sql: `
					SELECT entity_kind AS kind, entity, tenant, max(weight) AS heaviest, count() AS signals, arrayStringConcat(arraySort(groupUniqArray(5)(rule)), ', ') AS rules, max(s.time) AS last
					FROM v_signals AS s
					WHERE $__timeFilter(s.time) AND clears = 0
					GROUP BY kind, entity, tenant
					ORDER BY heaviest DESC, last DESC
					LIMIT 50`}, column{name: "entity", link: toEntity(), width: 260}, column{name: "rules", width: 320}).wide(24),
			}},
		},
	}
}
