package dashboards

func overview() board {
	return board{
		uid: "weir-overview", title: "Weir: overview",
		about:         "What is abused, by whom, and what was done about it. Begin here; every row leads to its details.",
		withoutCanary: true,
		rows: []row{
			{"Is it working?", []panel{
				number("Events", "Requests a second that ingest reads. 0 means that gateways send nothing, or that ingest stands still: see the dashboard Pipeline.", perSec,
					query{expr: "sum(rate(weir_ingest_events_total[$__rate_interval]))"}),
				number("Lag", "How far behind the workers are: the time since the records were written that they read now, in both stages. Scores are old by that much. If it grows, see Pipeline.", seconds,
					query{expr: "max(weir_ingest_lag_seconds) + max(weir_detect_lag_seconds)"}, step{10, "orange"}, step{60, "red"}),
				number("Oldest score not written", "How long the oldest score has waited for Redis. Gates act on scores that are older by that much.", seconds,
					query{expr: "max(weir_redis_oldest_unwritten_seconds)"}, step{2, "orange"}, step{10, "red"}),
				number("Decisions", "Decisions a second of all gates.", perSec, query{expr: "sum(rate(weir_gate_decisions_total[$__rate_interval]))"}),
				number("Degraded decisions", "Share of the decisions in the time range that were made without all that should be known, because Redis was slow or away, or a question was incomplete: see Gate.", share,
					query{expr: "sum(increase(weir_gate_degraded_total[$__range])) / sum(increase(weir_gate_decisions_total[$__range]))"}, step{0.01, "orange"}, step{0.1, "red"}),
				number("Switches in force", "Kill switches, blocks and releases that operators have set. With a kill switch Weir holds nothing back: weir switch list shows it.", count,
					query{expr: "max(weir_gate_switches)"}, step{1, "orange"}),
			}},
			{"What is abused?", []panel{
				graph("Signals by category", "Firings of rules, by what they are about. A step up is a new attack, a new rule, or a rule that has gone wild; the annotations show changes of rules.", count, query{sql: `
					SELECT $__timeInterval(s.time) AS t, category, count() AS signals
					FROM v_signals AS s
					WHERE $__timeFilter(s.time) AND clears = 0
					GROUP BY t, category
					ORDER BY t`}).overTime().wide(12),
				{
					kind: ranks, title: "Routes under attack", about: "Routes of the requests that made rules fire.", unit: count, width: 12, height: 8,
					queries: []query{{sql: `
						SELECT if(e.route = '', 'unknown', e.route) AS route, count() AS signals
						FROM v_signals AS s
						INNER JOIN v_events AS e USING (stream, incarnation, src_partition, src_offset)
						WHERE $__timeFilter(s.time) AND $__timeFilter(e.time) AND s.clears = 0
						GROUP BY route
						ORDER BY signals DESC
						LIMIT 10`}},
				},
				list("Rules that fire", "The rules with the heaviest signals first. A rule in phase observe never acts. Follow a rule to the attack that it sees.", query{sql: `
					SELECT rule, category, any(phase) AS phase, count() AS signals, uniqExact(entity_kind, entity, tenant) AS entities,
						max(weight) AS heaviest, min(s.time) AS first, max(s.time) AS last
					FROM v_signals AS s
					WHERE $__timeFilter(s.time) AND clears = 0
					GROUP BY rule, category
					ORDER BY heaviest DESC, signals DESC
					LIMIT 50`}, column{name: "rule", link: toRule(), width: 260}, column{name: "heaviest", unit: points}).wide(24),
			}},
			{"By whom?", []panel{
				{
					kind: table, title: "Riskiest entities", unit: "none", width: 16, height: 12, steps: scoreSteps(),
					about: "Entities by their score at the end of the time range, computed from the signals. score is that of rules that may act, observed that of all rules. Follow one to see why.",
					queries: []query{{sql: `
						WITH ` + contributions("v_signals", "NOT startsWith(tenant, 'weir-canary')", "NOT startsWith(tenant, 'weir-canary')") + `,
						found AS (
							` + scores("entity_kind, entity, tenant", "(SELECT *, toUnixTimestamp($__toTime) AS t FROM contributions)") + `
						)
						SELECT f.entity_kind AS kind, f.entity AS entity, f.tenant AS tenant, round(f.acting) AS score, round(f.observed) AS observed,
							why.rules AS rules, why.last AS last
						FROM found AS f
						INNER JOIN (
							SELECT entity_kind, entity, tenant, arrayStringConcat(arraySort(groupUniqArray(5)(rule)), ', ') AS rules, max(s.time) AS last
							FROM v_signals AS s
							WHERE $__timeFilter(s.time) AND clears = 0
							GROUP BY entity_kind, entity, tenant
						) AS why USING (entity_kind, entity, tenant)
						ORDER BY score DESC, observed DESC, last DESC
						LIMIT 50`}},
					columns: []column{
						{name: "entity", link: toEntity(), width: 220}, {name: "kind", width: 90}, {name: "tenant", width: 90},
						{name: "score", unit: points, gauge: true, width: 120}, {name: "observed", unit: points, gauge: true, width: 120},
					},
				},
				list("Networks they come from", "Autonomous systems of the requests that made rules fire, and the share of all requests of each network that did. A high share means that little else comes from there.", query{sql: `
					SELECT asn, any(as_org) AS organisation, any(anonymiser) AS anonymiser, countIf(caught) AS suspicious, count() AS requests,
						suspicious / requests AS share, uniqExactIf(account, caught AND account != '') AS accounts
					FROM (
						SELECT asn, as_org, anonymiser, account,
							(stream, incarnation, src_partition, src_offset) IN (
								SELECT stream, incarnation, src_partition, src_offset FROM v_signals AS s WHERE $__timeFilter(s.time) AND clears = 0
							) AS caught
						FROM v_events AS e
						WHERE $__timeFilter(e.time)
					)
					GROUP BY asn
					HAVING suspicious > 0
					ORDER BY suspicious DESC
					LIMIT 20`}, column{name: "share", unit: share}, column{name: "asn", unit: "none", width: 80}).wide(8).tall(12),
			}},
			{"What was done about it?", []panel{
				graph("Decisions by action", "What the gates decided. allow is left out, so that the rest can be seen.", count, query{sql: `
					SELECT $__timeInterval(d.time) AS t, action, count() AS decisions
					FROM v_decisions AS d
					WHERE $__timeFilter(d.time) AND action != 'allow'
					GROUP BY t, action
					ORDER BY t`}).overTime(),
				list("Actions taken, and held back", "Decisions by action, and by what the action would have been if every phase were enforce. A row in which the two differ is what shadow mode holds back.", query{sql: `
					SELECT action, would, phase, count() AS decisions, uniqExact(entities['account']) AS accounts, uniqExact(entities['ip']) AS addresses
					FROM v_decisions AS d
					WHERE $__timeFilter(d.time)
					GROUP BY action, would, phase
					ORDER BY decisions DESC
					LIMIT 30`}).wide(8).tall(8),
				list("Why requests were held back", "Reasons of the decisions other than allow and tag, and whom they hit. no reason: a limit or a block decided.", query{sql: `
					SELECT arrayStringConcat(reason_codes, ', ') AS reasons, any(action) AS action, count() AS requests,
						uniqExact(entities['account']) AS accounts, uniqExact(entities['ip']) AS addresses
					FROM v_decisions AS d
					WHERE $__timeFilter(d.time) AND ` + stops + `
					GROUP BY reasons
					ORDER BY requests DESC
					LIMIT 30`}, column{name: "reasons", width: 260}).wide(8).tall(8),
			}},
			{"The traffic behind it", []panel{
				graph("Requests by status", "Requests by the class of their status; refused are those that Weir had refused. Failures that rise before signals do are what an attacker tries.", count, query{sql: `
					SELECT $__timeInterval(m.minute) AS t, ` + statusClass + ` AS class, sum(events) AS requests
					FROM v_event_minutes AS m
					WHERE $__timeFilter(m.minute)
					GROUP BY t, class
					ORDER BY t`}).overTime().minutes().wide(12),
				list("Routes", "The routes with the most requests. failed is the share of 4xx, broken that of 5xx, latency the mean.", query{sql: `
					SELECT route, sum(m.events) AS requests, sumIf(m.events, intDiv(status, 100) = 4) / requests AS failed, sumIf(m.events, intDiv(status, 100) = 5) / requests AS broken,
						sum(latency_us) / requests AS latency, formatReadableSize(sum(m.bytes)) AS sent
					FROM v_event_minutes AS m
					WHERE $__timeFilter(m.minute)
					GROUP BY route
					ORDER BY requests DESC
					LIMIT 30`}, column{name: "failed", unit: share}, column{name: "broken", unit: share}, column{name: "latency", unit: micros}, column{name: "route", width: 260}).tall(8),
			}},
		},
	}
}
