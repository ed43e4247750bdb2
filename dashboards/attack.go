package dashboards

import (
	"fmt"
	"strings"
)

func attack() board {
	signals := signalsOfCampaign()
	members := `members AS (
		SELECT DISTINCT entity_kind, entity, tenant FROM ` + signals + ` AS s
	)`
	caught := `caught AS (
		SELECT DISTINCT stream, incarnation, src_partition, src_offset FROM ` + signals + ` AS s
	)`
	// theirs is a condition on v_events AS e: the events of members. One IN makes one set.
	var names []string
	for _, k := range kinds() {
		names = append(names, fmt.Sprintf("('%s', %s, e.tenant)", k[0], k[1]))
	}
	theirs := "arrayExists(who -> who IN (SELECT entity_kind, entity, tenant FROM members), [" + strings.Join(names, ", ") + "])"
	return board{
		uid: "weir-attack", title: "Weir: attack",
		about: "One campaign: all that a rule sees, or one group of it. Its members, what they have in common, what they do, from where, and what was done about them.",
		variables: []variable{
			{name: "rule", label: "Rule", about: "Rule that sees the attack.", sql: `
				SELECT DISTINCT rule FROM v_signals AS s WHERE $__timeFilter(s.time) AND clears = 0 ORDER BY rule`},
			{name: "group", label: "Group", about: "Key of a group, such as a network or a TLS fingerprint; empty: all. The table of groups sets it."},
		},
		rows: []row{
			{"How big is it?", []panel{
				number("Members", "Entities with signals of this campaign.", count, query{sql: `
					SELECT uniqExact(entity_kind, entity, tenant) AS members FROM ` + signals + ` AS s`}),
				number("Signals", "Firings of the rule in the time range.", count, query{sql: `
					SELECT count() AS signals FROM ` + signals + ` AS s`}),
				number("Heaviest", "The greatest weight of a signal.", points, query{sql: `
					SELECT max(weight) AS heaviest FROM ` + signals + ` AS s`}, scoreSteps()...),
				number("Requests of members", "All requests of the members, those included that made no rule fire.", count, query{sql: `
					WITH ` + members + `
					SELECT count() AS requests FROM v_events AS e WHERE $__timeFilter(e.time) AND ` + theirs}),
				number("Held back", "Share of the decisions about members that were neither allow nor tag. In phase observe it is 0.", share, query{sql: `
					WITH ` + members + `
					SELECT countIf(` + stops + `) / count() AS share
					FROM v_decisions AS d
					WHERE $__timeFilter(d.time) AND arrayExists((kind, key) -> (kind, key, d.tenant) IN (SELECT entity_kind, entity, tenant FROM members), mapKeys(entities), mapValues(entities))
					HAVING count() > 0`}),
				number("Last signal", "When the rule fired last: is it still going on?", "dateTimeFromNow", query{sql: `
					SELECT toUnixTimestamp64Milli(max(s.time)) AS last FROM ` + signals + ` AS s HAVING count() > 0`}),
				graph("Signals by rule", "When it began, how it moves, and whether it ends.", count, query{sql: `
					SELECT $__timeInterval(s.time) AS t, rule, count() AS signals
					FROM ` + signals + ` AS s
					GROUP BY t, rule
					ORDER BY t`}).overTime().wide(12),
				graph("New members", "Entities with their first signal in the time range, by kind. A campaign that keeps finding new accounts is not held by blocking the old ones.", count, query{sql: `
					SELECT $__timeInterval(first) AS t, kind, count() AS members
					FROM (
						SELECT entity_kind AS kind, entity, tenant, min(s.time) AS first
						FROM ` + signals + ` AS s
						GROUP BY kind, entity, tenant
					)
					GROUP BY t, kind
					ORDER BY t`}).overTime().wide(12),
			}},
			{"Who is it?", []panel{
				{
					kind: table, title: "Members, heaviest first", unit: "none", width: 14, height: 12, steps: scoreSteps(),
					about: "The members by the weight of their signals. Follow one to see all of its score, its events and its neighbours.",
					queries: []query{{sql: `
						SELECT entity_kind AS kind, entity, tenant, max(weight) AS heaviest, count() AS signals, arrayStringConcat(arraySort(groupUniqArray(3)(rule)), ', ') AS rules,
							argMax(evidence, s.time) AS evidence, min(s.time) AS first, max(s.time) AS last
						FROM ` + signals + ` AS s
						GROUP BY kind, entity, tenant
						ORDER BY heaviest DESC, last DESC
						LIMIT 500`}},
					columns: []column{{name: "entity", link: toEntity(), width: 200}, {name: "heaviest", unit: points, gauge: true, width: 110}, {name: "kind", width: 80}, {name: "tenant", width: 80}},
				},
				list("What they have in common", "Properties of the requests of members, by how much more often they occur there than in all traffic. lift 20: twenty times as often. What is in nearly all of them, and nearly nowhere else, is what a rule or a limit can hold on to.", query{sql: `
					WITH ` + members + `
					SELECT what.1 AS property, what.2 AS value, countIf(member) / any(members_all) AS share, share / (count() / any(everybody)) AS lift
					FROM (
						SELECT [('country', country), ('asn', concat(toString(asn), ' ', as_org)), ('anonymiser', anonymiser), ('net', net), ('ja4', ja4), ('user agent', user_agent), ('app version', app_version),
							('build', build), ('os', concat(os, ' ', os_version)), ('signature', signature), ('attestation', attestation), ('auth', auth), ('route', route), ('gateway', gateway)] AS all,
							` + theirs + ` AS member, countIf(member) OVER () AS members_all, count() OVER () AS everybody
						FROM v_events AS e
						WHERE $__timeFilter(e.time)
					)
					ARRAY JOIN all AS what
					WHERE what.2 NOT IN ('', ' ', '0 ')
					GROUP BY property, value
					HAVING share >= 0.05
					ORDER BY lift * share DESC
					LIMIT 40`}, column{name: "share", unit: share, width: 80}, column{name: "lift", unit: count, width: 80}).wide(10).tall(12),
				list("Groups", "Groups for which rules fired, such as a network or a TLS fingerprint, with the members that were told. Follow one to see it alone.", query{sql: `
					SELECT rule, if(group_kind = '', 'no group', group_kind) AS kind, group_key AS key, uniqExact(entity_kind, entity, tenant) AS members, count() AS signals, max(weight) AS heaviest, min(s.time) AS first, max(s.time) AS last
					FROM ` + signals + ` AS s
					GROUP BY rule, kind, key
					ORDER BY members DESC
					LIMIT 100`},
					column{name: "key", link: &link{"This group alone", "weir-attack", [][2]string{{"rule", "rule"}, {"group", "key"}}}, width: 220}, column{name: "rule", width: 220}).wide(14),
				list("Accounts that they got into", "Accounts with a successful sign-in among the requests of members. Their owners need a new password and an end of all sessions.", query{sql: `
					WITH ` + members + `
					SELECT 'account' AS kind, account AS entity, tenant, countIf(auth = 'failure') AS failures, countIf(auth = 'success') AS successes, uniqExact(client_ip) AS addresses, max(e.time) AS last
					FROM v_events AS e
					WHERE $__timeFilter(e.time) AND auth != '' AND account != '' AND ` + theirs + `
					GROUP BY entity, tenant
					HAVING successes > 0
					ORDER BY last DESC
					LIMIT 100`}, column{name: "entity", link: toEntity(), width: 180}).wide(10),
			}},
			{"What do they do, and from where?", []panel{
				{
					kind: places, title: "Map", unit: count, width: 12, height: 12,
					about: "Where the requests of members come from. The size of a circle is the number of requests, weight that of those which made a rule fire.",
					queries: []query{{sql: `
						WITH ` + members + `, ` + caught + `
						SELECT any(city) AS city, any(country) AS country, latitude_udeg / 1e6 AS latitude, longitude_udeg / 1e6 AS longitude, count() AS size,
							countIf((stream, incarnation, src_partition, src_offset) IN (SELECT stream, incarnation, src_partition, src_offset FROM caught)) AS weight
						FROM v_events AS e
						WHERE $__timeFilter(e.time) AND (latitude_udeg != 0 OR longitude_udeg != 0) AND ` + theirs + `
						GROUP BY latitude, longitude
						ORDER BY size DESC
						LIMIT 500`}},
				},
				list("Sequences", "What members do first: the first eight different calls of each, and how many members begin like that. People vary; scripts repeat themselves.", query{sql: `
					WITH ` + members + `
					SELECT arrayStringConcat(steps, ' → ') AS sequence, count() AS members, sum(requests) AS requests
					FROM (
						SELECT who, arraySlice(arrayCompact(arrayMap(c -> c.2, arraySort(groupArray(5000)((e.time, concat(method, ' ', route)))))), 1, 8) AS steps, count() AS requests
						FROM v_events AS e
						ARRAY JOIN [('account', account, tenant), ('ip', client_ip, tenant), ('device', device, tenant), ('token', if(token_family != '', token_family, token), tenant), ('session', session, tenant)] AS who
						WHERE $__timeFilter(e.time) AND who IN (SELECT entity_kind, entity, tenant FROM members)
						GROUP BY who
					)
					GROUP BY sequence
					ORDER BY members DESC, requests DESC
					LIMIT 30`}, column{name: "sequence", width: 420}).tall(12),
				graph("Requests by status", "Requests of members, by the class of their status; refused are those that Weir had refused.", count, query{sql: `
					WITH ` + members + `
					SELECT $__timeInterval(e.time) AS t,
						` + statusClass + ` AS class,
						count() AS requests
					FROM v_events AS e
					WHERE $__timeFilter(e.time) AND ` + theirs + `
					GROUP BY t, class
					ORDER BY t`}).overTime().wide(12),
				graph("Decisions about members", "What the gates decided, whatever else was among the entities of the request.", count, query{sql: `
					WITH ` + members + `
					SELECT $__timeInterval(d.time) AS t, action, count() AS decisions
					FROM v_decisions AS d
					WHERE $__timeFilter(d.time) AND arrayExists((kind, key) -> (kind, key, d.tenant) IN (SELECT entity_kind, entity, tenant FROM members), mapKeys(entities), mapValues(entities))
					GROUP BY t, action
					ORDER BY t`}).overTime().wide(12),
				list("Time line", "The last 300 signals of the campaign, with the request that made each rule fire.", query{sql: `
					SELECT s.time AS time, s.rule AS rule, s.entity_kind AS kind, s.entity AS entity, s.tenant AS tenant, s.weight AS weight, s.evidence AS evidence, s.group_key AS group,
						e.method AS method, e.path AS path, e.status AS status, e.account AS account, e.client_ip AS ip, e.country AS country
					FROM (SELECT * FROM ` + signals + ` AS s ORDER BY s.time DESC LIMIT 300) AS s
					LEFT JOIN (SELECT * FROM v_events AS e WHERE $__timeFilter(e.time)) AS e USING (stream, incarnation, src_partition, src_offset)
					ORDER BY time DESC`},
					column{name: "time", unit: moment, width: 190}, column{name: "entity", link: toEntity(), width: 180}, column{name: "evidence", width: 300}).wide(24).tall(12),
			}},
		},
	}
}
