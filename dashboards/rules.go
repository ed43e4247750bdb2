package dashboards

func rules() board {
	one := ifGiven("rule = "+value("rule"), "rule")
	return board{
		uid: "weir-rules", title: "Weir: rules",
		about: "What each rule finds, what only it finds, what shadow rules would have found, what people say about the findings, and what the rules cost.",
		variables: []variable{{name: "rule", label: "Rule", about: "One rule, or all.", sql: `
			SELECT DISTINCT rule FROM v_signals AS s WHERE $__timeFilter(s.time) ORDER BY rule`}},
		withoutCanary: true,
		rows: []row{
			{"What do the rules find?", []panel{
				list("Rules", "Every rule with signals. alone is the share of its entities that no other rule found: a rule with a low share adds weight, not knowledge. late signals come from events that came too late for an order of time.", query{sql: `
					WITH found AS (
						SELECT entity_kind, entity, tenant, uniqExact(rule) AS rules
						FROM v_signals AS s
						WHERE $__timeFilter(s.time) AND clears = 0
						GROUP BY entity_kind, entity, tenant
					)
					SELECT rule, any(s.category) AS category, argMax(s.phase, s.time) AS phase, count() AS signals, uniqExact(s.entity_kind, s.entity, s.tenant) AS entities,
						uniqExactIf((s.entity_kind, s.entity, s.tenant), found.rules = 1) / entities AS alone, round(avg(s.weight), 1) AS weight, max(s.weight) AS heaviest,
						countIf(s.late = 1) / signals AS late, uniqExact(s.rules_version) AS versions, min(s.time) AS first, max(s.time) AS last
					FROM ` + signalsOfRule() + ` AS s
					INNER JOIN found USING (entity_kind, entity, tenant)
					WHERE s.clears = 0
					GROUP BY rule
					ORDER BY signals DESC`},
					column{name: "rule", link: toRule(), width: 260}, column{name: "alone", unit: share}, column{name: "late", unit: share}, column{name: "weight", unit: points}, column{name: "heaviest", unit: points}).wide(24).tall(11),
				graph("Signals by rule", "A rule that jumps at an annotation was changed; one that jumps without is seeing an attack, or a release that behaves like one.", count, query{sql: `
					SELECT $__timeInterval(s.time) AS t, rule, count() AS signals
					FROM ` + signalsOfRule() + ` AS s
					WHERE clears = 0
					GROUP BY t, rule
					ORDER BY t`}).overTime().wide(12),
				graph("Entities by rule", "Different entities in each interval. Many signals about few entities are an attack; few signals about each of many are a rule that hits everybody.", count, query{sql: `
					SELECT $__timeInterval(s.time) AS t, rule, uniqExact(entity_kind, entity, tenant) AS entities
					FROM ` + signalsOfRule() + ` AS s
					WHERE clears = 0
					GROUP BY t, rule
					ORDER BY t`}).wide(12),
				list("Weights", "Signals by tier. A rule whose lowest tier fires most may need a higher threshold there.", query{sql: `
					SELECT rule, tier, weight, any(phase) AS phase, count() AS signals, uniqExact(entity_kind, entity, tenant) AS entities, any(evidence) AS example
					FROM ` + signalsOfRule() + ` AS s
					WHERE clears = 0
					GROUP BY rule, tier, weight
					ORDER BY signals DESC
					LIMIT 100`}, column{name: "rule", link: toRule(), width: 240}, column{name: "example", width: 320}).wide(14),
				list("Versions", "Sets of rules by when they first and last found something.", query{sql: `
					SELECT rules_version AS version, uniqExact(rule) AS rules, count() AS signals, min(s.time) AS first, max(s.time) AS last
					FROM v_signals AS s
					WHERE $__timeFilter(s.time)
					GROUP BY version
					ORDER BY last DESC
					LIMIT 50`}).wide(10),
			}},
			{"Are they right?", []panel{
				list("Precision by labels", "Findings that people marked, by rule: the latest label of each entity counts. precision is the share of true positives among them. Few labels say little, and people mark what they look at. docs/controls.md says how to mark.", query{sql: `
					SELECT rule, countIf(label = 'true_positive') AS true_positives, countIf(label = 'false_positive') AS false_positives,
						true_positives / (true_positives + false_positives) AS precision, max(last) AS last
					FROM (
						SELECT if(rule = '', 'all rules of the entity', rule) AS rule, argMax(label, l.time) AS label, max(l.time) AS last
						FROM v_labels AS l
						WHERE $__timeFilter(l.time) AND ` + one + `
						GROUP BY rule, entity_kind, entity, tenant
					)
					GROUP BY rule
					ORDER BY false_positives DESC, rule`}, column{name: "rule", link: toRule(), width: 240}, column{name: "precision", unit: share}).wide(10),
				list("Labels", "What was said about whom, the newest first. Until it expires, a false positive keeps the rule from raising the entity's score.", query{sql: `
					SELECT l.time AS time, label, rule, entity_kind AS kind, entity, tenant, who, reason, if(label = 'false_positive', expires, NULL) AS expires
					FROM v_labels AS l
					WHERE $__timeFilter(l.time) AND ` + one + `
					ORDER BY l.time DESC
					LIMIT 200`}, column{name: "time", unit: moment, width: 190}, column{name: "entity", link: toEntity(), width: 180}, column{name: "rule", width: 200}, column{name: "reason", width: 260}).wide(14),
				list("What labels hide", "Signals that a label holds back: they are stored with weight 0. Many of them about an entity that is not known to be innocent are an attack behind a label.", query{sql: `
					SELECT rule, entity_kind AS kind, entity, tenant, count() AS signals, max(s.time) AS last
					FROM ` + signalsOfRule() + ` AS s
					WHERE JSONHas(evidence, 'false_positive')
					GROUP BY rule, kind, entity, tenant
					ORDER BY signals DESC
					LIMIT 100`}, column{name: "rule", link: toRule(), width: 240}, column{name: "entity", link: toEntity(), width: 200}),
				graph("Statements", "Labels, releases, passed challenges and erasures, and what was set at gates (gate_…), by action.", count, query{sql: `
					SELECT $__timeInterval(a.time) AS t, action, count() AS statements
					FROM v_audit AS a
					WHERE $__timeFilter(a.time)
					GROUP BY t, action
					ORDER BY t`}).overTime().wide(12),
			}},
			{"Do they overlap?", []panel{
				list("Overlap", "Pairs of rules that found the same entities. share is the part of the rule's entities that the other rule found, too: at 100 % the rule adds only weight.", query{sql: `
					WITH pairs AS (
						SELECT DISTINCT rule, entity_kind, entity, tenant FROM v_signals AS s WHERE $__timeFilter(s.time) AND clears = 0
					)
					SELECT a.rule AS rule, b.rule AS other, count() AS both, both / any(n.entities) AS share
					FROM pairs AS a
					INNER JOIN pairs AS b USING (entity_kind, entity, tenant)
					INNER JOIN (SELECT rule, count() AS entities FROM pairs GROUP BY rule) AS n ON n.rule = a.rule
					WHERE a.rule != b.rule AND $__conditionalAll(a.rule = ` + value("rule") + `, $rule)
					GROUP BY rule, other
					ORDER BY both DESC
					LIMIT 200`}, column{name: "rule", link: toRule(), width: 240}, column{name: "other", width: 240}, column{name: "share", unit: share}),
				list("Requests held back by rule", "Decisions in which a rule was among the reasons. would_stop counts those that would have been held back if every phase were enforce: what raising phases would change.", query{sql: `
					SELECT rule, count() AS decisions, countIf(` + stops + `) AS held_back, countIf(would IN ('throttle', 'challenge', 'step_up', 'deny')) AS would_stop,
						uniqExact(entities['account']) AS accounts, uniqExact(entities['ip']) AS addresses
					FROM v_decisions AS d
					ARRAY JOIN rules AS rule
					WHERE $__timeFilter(d.time) AND ` + one + `
					GROUP BY rule
					ORDER BY would_stop DESC
					LIMIT 100`}, column{name: "rule", link: toRule(), width: 240}),
			}},
			{"What would shadow rules find?", []panel{
				list("Shadow against live", "Signals of shadow rules, which are only watched. caught is the share of their entities that rules in force found as well, live the signals of the rule of the same name in force.", query{sql: `
					WITH live AS (
						SELECT rule, count() AS signals FROM v_signals AS s WHERE $__timeFilter(s.time) AND clears = 0 GROUP BY rule
					),
					found AS (
						SELECT DISTINCT entity_kind, entity, tenant FROM v_signals AS s WHERE $__timeFilter(s.time) AND clears = 0
					)
					SELECT rule, s.rules_version AS version, count() AS signals, uniqExact(s.entity_kind, s.entity, s.tenant) AS entities,
						uniqExactIf((s.entity_kind, s.entity, s.tenant), (s.entity_kind, s.entity, s.tenant) IN (SELECT entity_kind, entity, tenant FROM found)) / entities AS caught,
						max(s.weight) AS heaviest, any(l.signals) AS live
					FROM v_shadow_signals AS s
					LEFT JOIN live AS l USING (rule)
					WHERE $__timeFilter(s.time)
					GROUP BY rule, version
					ORDER BY signals DESC
					LIMIT 100`}, column{name: "rule", width: 260}, column{name: "caught", unit: share}, column{name: "heaviest", unit: points}),
				list("Entities that only shadow rules find", "Whom a shadow rule would hit in addition. If these are innocent, the rule is not ready.", query{sql: `
					SELECT entity_kind AS kind, entity, tenant, arrayStringConcat(arraySort(groupUniqArray(3)(rule)), ', ') AS rules, max(weight) AS heaviest, any(evidence) AS evidence, max(s.time) AS last
					FROM v_shadow_signals AS s
					WHERE $__timeFilter(s.time) AND (entity_kind, entity, tenant) NOT IN (
						SELECT entity_kind, entity, tenant FROM v_signals AS l WHERE $__timeFilter(l.time) AND clears = 0
					)
					GROUP BY kind, entity, tenant
					ORDER BY heaviest DESC
					LIMIT 100`}, column{name: "entity", link: toEntity(), width: 220}),
			}},
			{"What do they cost?", []panel{
				graph("CPU for each thousand events", "CPU time of the workers, all stages included, for a thousand events. docs/performance.md says what each detector costs.", seconds, query{expr: `1000 * sum(rate(process_cpu_seconds_total{job="weir-worker"}[$__rate_interval])) / sum(rate(weir_ingest_events_total[$__rate_interval]))`, legend: "CPU"}),
				graph("State of an entity", "Memory of the state, divided by the entities that have one.", size, query{expr: "sum(weir_detect_state_bytes) / sum(weir_detect_entities)", legend: "bytes an entity"}),
				graph("Facets without a rule's look", "Facets that exceptions hid from a rule, by rule and number of the exception: an exception that hits often may hide an attack.", perSec,
					query{expr: "sum by (rule, exception) (rate(weir_detect_exception_hits_total[$__rate_interval]))", legend: "{{rule}} exception {{exception}}"}),
			}},
		},
	}
}
