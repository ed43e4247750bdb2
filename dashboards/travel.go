package dashboards

func travel() board {
	// trips are the signals with two places in their evidence.
	const trips = "JSONHas(evidence, 'speed_kmh')"
	return board{
		uid: "weir-travel", title: "Weir: travel and geography",
		about:         "Where requests come from, who is in two places at once, and which networks hide where they are. Places come from the geographic databases (settings geo.…); without them these panels are empty.",
		withoutCanary: true,
		rows: []row{
			{"Who was in two places at once?", []panel{
				number("Impossible trips", "Signals about two places that are too far apart for the time between them. docs/detectors/impossible_travel.md says how places are compared.", count, query{sql: `
					SELECT count() AS trips FROM v_signals AS s WHERE $__timeFilter(s.time) AND clears = 0 AND ` + trips}, step{1, "orange"}),
				number("Travellers", "Different entities among them.", count, query{sql: `
					SELECT uniqExact(entity_kind, entity, tenant) AS travellers FROM v_signals AS s WHERE $__timeFilter(s.time) AND clears = 0 AND ` + trips}),
				number("Countries", "Countries of all requests.", count, query{sql: `
					SELECT uniqExactIf(country, country != '') AS countries FROM v_events AS e WHERE $__timeFilter(e.time)`}),
				number("Hidden", "Share of requests from networks that hide where the client is: VPN, Tor, proxies, hosting.", share, query{sql: `
					SELECT countIf(anonymiser != '') / count() AS share FROM v_events AS e WHERE $__timeFilter(e.time)`}),
				number("Without a place", "Share of requests whose address is in no database. If it is high, the databases are missing or old.", share, query{sql: `
					SELECT countIf(country = '') / count() AS share FROM v_events AS e WHERE $__timeFilter(e.time) HAVING count() > 0`}, step{0.1, "orange"}),
				number("Impossible: fastest", "The highest speed of a trip.", "velocitykmh", query{sql: `
					SELECT max(JSONExtractInt(evidence, 'speed_kmh')) AS speed FROM v_signals AS s WHERE $__timeFilter(s.time) AND clears = 0 AND ` + trips}),
				{
					kind: places, title: "Ends of impossible trips", unit: count, width: 12, height: 12,
					about: "Both ends of each trip, from the evidence. The size of a circle is the number of trips, weight the weight of the heaviest.",
					queries: []query{{sql: `
						SELECT end.1 AS country, end.2 / 1e6 AS latitude, end.3 / 1e6 AS longitude, count() AS size, max(weight) AS weight
						FROM (
							SELECT s.weight AS weight, arrayMap(side -> (
								JSONExtractString(evidence, concat(side, '_country')), JSONExtractInt(evidence, side, 'latitude_udeg'), JSONExtractInt(evidence, side, 'longitude_udeg')
							), ['from', 'to']) AS ends
							FROM v_signals AS s
							WHERE $__timeFilter(s.time) AND clears = 0 AND ` + trips + `
						)
						ARRAY JOIN ends AS end
						GROUP BY country, latitude, longitude
						ORDER BY size DESC
						LIMIT 500`}},
				},
				list("Trips", "Each trip with its evidence. lowered_by says what speaks for the traveller.", query{sql: `
					SELECT s.time AS time, entity_kind AS kind, entity, tenant, weight, JSONExtractString(evidence, 'from_country') AS from_country, JSONExtractString(evidence, 'to_country') AS to_country,
						JSONExtractInt(evidence, 'distance_km') AS distance, JSONExtractInt(evidence, 'elapsed_ms') AS elapsed, JSONExtractInt(evidence, 'speed_kmh') AS speed, JSONExtractString(evidence, 'lowered_by') AS lowered_by, rule
					FROM v_signals AS s
					WHERE $__timeFilter(s.time) AND clears = 0 AND ` + trips + `
					ORDER BY s.time DESC
					LIMIT 200`},
					column{name: "time", unit: moment, width: 190}, column{name: "entity", link: toEntity(), width: 160}, column{name: "distance", unit: "lengthkm"}, column{name: "elapsed", unit: ms}, column{name: "speed", unit: "velocitykmh"}).tall(12),
				list("Accounts in several countries", "Accounts with requests from more than one country in the time range, hiding networks left out. Some are travellers, some are shared, some are stolen: devices and addresses tell.", query{sql: `
					SELECT 'account' AS kind, account AS entity, tenant, uniqExact(country) AS countries, arrayStringConcat(arraySort(groupUniqArray(6)(country)), ', ') AS names,
						uniqExact(client_ip) AS addresses, uniqExactIf(device, device != '') AS devices, count() AS requests, max(e.time) AS last
					FROM v_events AS e
					WHERE $__timeFilter(e.time) AND account != '' AND country != '' AND anonymiser = '' AND account_tried = 0
					GROUP BY entity, tenant
					HAVING countries > 1
					ORDER BY countries DESC, requests DESC
					LIMIT 100`}, column{name: "entity", link: toEntity(), width: 180}).wide(24),
			}},
			{"Where do requests come from?", []panel{
				{
					kind: places, title: "Requests and suspicion", unit: count, width: 14, height: 13,
					about: "Requests by place. The size of a circle is their number, weight that of those which made a rule fire.",
					queries: []query{{sql: `
						SELECT any(city) AS city, any(country) AS country, latitude_udeg / 1e6 AS latitude, longitude_udeg / 1e6 AS longitude, count() AS size,
							countIf((stream, incarnation, src_partition, src_offset) IN (
								SELECT stream, incarnation, src_partition, src_offset FROM v_signals AS s WHERE $__timeFilter(s.time) AND clears = 0
							)) AS weight
						FROM v_events AS e
						WHERE $__timeFilter(e.time) AND (latitude_udeg != 0 OR longitude_udeg != 0)
						GROUP BY latitude, longitude
						ORDER BY size DESC
						LIMIT 1000`}},
				},
				list("Requests, accounts and failures by country", "Requests by country. failed is the share of sign-ins that failed.", query{sql: `
					SELECT if(country = '', 'unknown', country) AS country, count() AS requests, uniqExactIf(account, account != '') AS accounts, uniqExact(client_ip) AS addresses,
						countIf(auth = 'failure') / countIf(auth != '') AS failed,
						countIf((stream, incarnation, src_partition, src_offset) IN (
							SELECT stream, incarnation, src_partition, src_offset FROM v_signals AS s WHERE $__timeFilter(s.time) AND clears = 0
						)) AS suspicious
					FROM v_events AS e
					WHERE $__timeFilter(e.time)
					GROUP BY country
					ORDER BY requests DESC
					LIMIT 100`}, column{name: "failed", unit: share}).wide(10).tall(13),
				graph("Requests by country", "The ten countries with the most requests. A new country in the middle of the night is worth a look.", count, query{sql: `
					SELECT $__timeInterval(m.minute) AS t, m.entity AS country, sum(m.events) AS requests
					FROM v_entity_minutes AS m
					WHERE m.entity_kind = 'country' AND $__timeFilter(m.minute) AND m.entity IN (
						SELECT o.entity FROM v_entity_minutes AS o WHERE o.entity_kind = 'country' AND $__timeFilter(o.minute) GROUP BY o.entity ORDER BY sum(o.events) DESC LIMIT 10
					)
					GROUP BY t, country
					ORDER BY t`}).overTime().minutes().wide(12),
				graph("Requests from hiding networks", "Requests by the kind of network that hides the client, as the database of anonymisers knows it.", count, query{sql: `
					SELECT $__timeInterval(e.time) AS t, anonymiser, count() AS requests
					FROM v_events AS e
					WHERE $__timeFilter(e.time) AND anonymiser != ''
					GROUP BY t, anonymiser
					ORDER BY t`}).overTime().wide(12),
				list("Networks", "Autonomous systems by requests. failed is the share of sign-ins that failed, suspicious counts requests that made a rule fire.", query{sql: `
					SELECT 'asn' AS kind, toString(asn) AS entity, tenant, any(as_org) AS organisation, any(anonymiser) AS anonymiser, count() AS requests, uniqExactIf(account, account != '') AS accounts,
						uniqExact(client_ip) AS addresses, countIf(auth = 'failure') / countIf(auth != '') AS failed,
						countIf((stream, incarnation, src_partition, src_offset) IN (
							SELECT stream, incarnation, src_partition, src_offset FROM v_signals AS s WHERE $__timeFilter(s.time) AND clears = 0
						)) AS suspicious
					FROM v_events AS e
					WHERE $__timeFilter(e.time) AND asn != 0
					GROUP BY entity, tenant
					ORDER BY suspicious DESC, requests DESC
					LIMIT 100`}, column{name: "entity", link: toEntity(), width: 100}, column{name: "failed", unit: share}).wide(24),
			}},
		},
	}
}
