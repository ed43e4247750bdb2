CREATE DATABASE IF NOT EXISTS weir ON CLUSTER 'abuse';
CREATE TABLE IF NOT EXISTS weir.schema_version ON CLUSTER 'abuse' (version UInt32) ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/all/weir/schema_version', '{shard}-{replica}') ORDER BY version;
CREATE TABLE IF NOT EXISTS weir.superseded_streams ON CLUSTER 'abuse' (stream String, incarnation UInt32, by_stream String, by_incarnation UInt32)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/all/weir/superseded_streams', '{shard}-{replica}') ORDER BY (stream, incarnation, by_stream, by_incarnation);
CREATE TABLE IF NOT EXISTS weir.events_local ON CLUSTER 'abuse'
(
    stream String CODEC(ZSTD(1)),
    incarnation UInt32 CODEC(ZSTD(1)),
    src_partition UInt32 CODEC(ZSTD(1)),
    src_offset UInt64 CODEC(Delta, ZSTD(1)),
    owner UInt64 CODEC(Delta, ZSTD(1)),
    received DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    id String CODEC(ZSTD(1)),
    time DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    schema_version Int64 CODEC(ZSTD(1)),
    gateway LowCardinality(String) CODEC(ZSTD(1)),
    tenant LowCardinality(String) CODEC(ZSTD(1)),
    account String CODEC(ZSTD(1)),
    session String CODEC(ZSTD(1)),
    token String CODEC(ZSTD(1)),
    token_family String CODEC(ZSTD(1)),
    token_issued DateTime64(3, 'UTC') CODEC(ZSTD(1)),
    token_expires DateTime64(3, 'UTC') CODEC(ZSTD(1)),
    grant LowCardinality(String) CODEC(ZSTD(1)),
    request_id String CODEC(ZSTD(1)),
    trace_id String CODEC(ZSTD(1)),
    method LowCardinality(String) CODEC(ZSTD(1)),
    host LowCardinality(String) CODEC(ZSTD(1)),
    path String CODEC(ZSTD(1)),
    route LowCardinality(String) CODEC(ZSTD(1)),
    status Int64 CODEC(ZSTD(1)),
    latency_us Int64 CODEC(ZSTD(1)),
    request_bytes Int64 CODEC(ZSTD(1)),
    response_bytes Int64 CODEC(ZSTD(1)),
    user_agent LowCardinality(String) CODEC(ZSTD(1)),
    ip String CODEC(ZSTD(1)),
    forwarded_for String CODEC(ZSTD(1)),
    ja4 LowCardinality(String) CODEC(ZSTD(1)),
    device String CODEC(ZSTD(1)),
    device_model LowCardinality(String) CODEC(ZSTD(1)),
    os LowCardinality(String) CODEC(ZSTD(1)),
    os_version LowCardinality(String) CODEC(ZSTD(1)),
    patch_level LowCardinality(String) CODEC(ZSTD(1)),
    app LowCardinality(String) CODEC(ZSTD(1)),
    app_version LowCardinality(String) CODEC(ZSTD(1)),
    sim LowCardinality(String) CODEC(ZSTD(1)),
    rooted UInt8 CODEC(ZSTD(1)),
    emulator UInt8 CODEC(ZSTD(1)),
    signature LowCardinality(String) CODEC(ZSTD(1)),
    signature_reason LowCardinality(String) CODEC(ZSTD(1)),
    key_id String CODEC(ZSTD(1)),
    nonce String CODEC(ZSTD(1)),
    client_time DateTime64(3, 'UTC') CODEC(ZSTD(1)),
    attestation LowCardinality(String) CODEC(ZSTD(1)),
    attestation_level LowCardinality(String) CODEC(ZSTD(1)),
    attestation_age_s Int64 CODEC(ZSTD(1)),
    pinning_error UInt8 CODEC(ZSTD(1)),
    object_type LowCardinality(String) CODEC(ZSTD(1)),
    object String CODEC(ZSTD(1)),
    auth LowCardinality(String) CODEC(ZSTD(1)),
    decision String CODEC(ZSTD(1)),
    attrs String CODEC(ZSTD(1)),
    referer String CODEC(ZSTD(1)),
    decision_action LowCardinality(String) CODEC(ZSTD(1)),
    connecting_ip String CODEC(ZSTD(1)),
    remote_user String CODEC(ZSTD(1)),
    attestation_id String CODEC(ZSTD(1)),
    attestation_counter Int64 CODEC(ZSTD(1)),
    client_ip String CODEC(ZSTD(1)),
    net String CODEC(ZSTD(1)),
    country LowCardinality(String) CODEC(ZSTD(1)),
    city LowCardinality(String) CODEC(ZSTD(1)),
    latitude_udeg Int64 CODEC(ZSTD(1)),
    longitude_udeg Int64 CODEC(ZSTD(1)),
    geo_radius_km Int64 CODEC(ZSTD(1)),
    asn Int64 CODEC(ZSTD(1)),
    as_org LowCardinality(String) CODEC(ZSTD(1)),
    anonymiser LowCardinality(String) CODEC(ZSTD(1)),
    skewed UInt8 CODEC(ZSTD(1)),
    build LowCardinality(String) CODEC(ZSTD(1)),
    clipped UInt8 CODEC(ZSTD(1)),
    delayed UInt8 CODEC(ZSTD(1)),
    account_tried UInt8 CODEC(ZSTD(1)),
    INDEX by_time time TYPE minmax GRANULARITY 4,
    INDEX by_tenant tenant TYPE bloom_filter(0.01) GRANULARITY 16,
    INDEX by_id id TYPE bloom_filter(0.01) GRANULARITY 16,
    INDEX by_account account TYPE bloom_filter(0.01) GRANULARITY 16,
    INDEX by_client_ip client_ip TYPE bloom_filter(0.01) GRANULARITY 16,
    INDEX by_device device TYPE bloom_filter(0.01) GRANULARITY 16,
    INDEX by_token token TYPE bloom_filter(0.01) GRANULARITY 16
)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/weir/events_local', '{replica}', owner)
PARTITION BY (stream, incarnation, intDiv(src_offset, 33554432))
ORDER BY (stream, incarnation, src_partition, src_offset)
TTL toDateTime(received) + INTERVAL 2160 HOUR
SETTINGS index_granularity = 2048, min_compress_block_size = 32768;
CREATE TABLE IF NOT EXISTS weir.events ON CLUSTER 'abuse' AS weir.events_local ENGINE = Distributed('abuse', 'weir', 'events_local', cityHash64(stream, incarnation, src_partition));
CREATE TABLE IF NOT EXISTS weir.signals_local ON CLUSTER 'abuse'
(
    stream String CODEC(ZSTD(1)),
    incarnation UInt32 CODEC(ZSTD(1)),
    facet_partition UInt32 CODEC(ZSTD(1)),
    facet_offset UInt64 CODEC(Delta, ZSTD(1)),
    facet_index UInt32 CODEC(ZSTD(1)),
    rule String CODEC(ZSTD(1)),
    rules_version LowCardinality(String) CODEC(ZSTD(1)),
    tenant LowCardinality(String) CODEC(ZSTD(1)),
    entity_kind LowCardinality(String) CODEC(ZSTD(1)),
    entity String CODEC(ZSTD(1)),
    group_kind LowCardinality(String) CODEC(ZSTD(1)),
    group_key String CODEC(ZSTD(1)),
    category LowCardinality(String) CODEC(ZSTD(1)),
    reason LowCardinality(String) CODEC(ZSTD(1)),
    phase LowCardinality(String) CODEC(ZSTD(1)),
    tier UInt8,
    weight UInt8,
    half_life_s UInt32 CODEC(ZSTD(1)),
    lowers UInt8,
    clears UInt8,
    asks LowCardinality(String) CODEC(ZSTD(1)),
    evidence String CODEC(ZSTD(1)),
    time DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    src_partition UInt32 CODEC(ZSTD(1)),
    src_offset UInt64 CODEC(Delta, ZSTD(1)),
    late UInt8,
    received DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    INDEX by_time time TYPE minmax GRANULARITY 1,
    INDEX by_entity entity TYPE bloom_filter(0.01) GRANULARITY 4
)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/weir/signals_local', '{replica}')
PARTITION BY (stream, incarnation, intDiv(facet_offset, 33554432))
ORDER BY (stream, incarnation, facet_partition, facet_offset, facet_index, rule)
TTL toDateTime(received) + INTERVAL 2160 HOUR;
CREATE TABLE IF NOT EXISTS weir.signals ON CLUSTER 'abuse' AS weir.signals_local ENGINE = Distributed('abuse', 'weir', 'signals_local', cityHash64(stream, incarnation, facet_partition));
CREATE TABLE IF NOT EXISTS weir.shadow_signals_local ON CLUSTER 'abuse'
(
    stream String CODEC(ZSTD(1)),
    incarnation UInt32 CODEC(ZSTD(1)),
    facet_partition UInt32 CODEC(ZSTD(1)),
    facet_offset UInt64 CODEC(Delta, ZSTD(1)),
    facet_index UInt32 CODEC(ZSTD(1)),
    rule String CODEC(ZSTD(1)),
    rules_version LowCardinality(String) CODEC(ZSTD(1)),
    tenant LowCardinality(String) CODEC(ZSTD(1)),
    entity_kind LowCardinality(String) CODEC(ZSTD(1)),
    entity String CODEC(ZSTD(1)),
    group_kind LowCardinality(String) CODEC(ZSTD(1)),
    group_key String CODEC(ZSTD(1)),
    category LowCardinality(String) CODEC(ZSTD(1)),
    reason LowCardinality(String) CODEC(ZSTD(1)),
    phase LowCardinality(String) CODEC(ZSTD(1)),
    tier UInt8,
    weight UInt8,
    half_life_s UInt32 CODEC(ZSTD(1)),
    lowers UInt8,
    clears UInt8,
    asks LowCardinality(String) CODEC(ZSTD(1)),
    evidence String CODEC(ZSTD(1)),
    time DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    src_partition UInt32 CODEC(ZSTD(1)),
    src_offset UInt64 CODEC(Delta, ZSTD(1)),
    late UInt8,
    received DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    INDEX by_time time TYPE minmax GRANULARITY 1,
    INDEX by_entity entity TYPE bloom_filter(0.01) GRANULARITY 4
)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/weir/shadow_signals_local', '{replica}')
PARTITION BY (stream, incarnation, intDiv(facet_offset, 33554432))
ORDER BY (stream, incarnation, facet_partition, facet_offset, facet_index, rule)
TTL toDateTime(received) + INTERVAL 2160 HOUR;
CREATE TABLE IF NOT EXISTS weir.shadow_signals ON CLUSTER 'abuse' AS weir.shadow_signals_local ENGINE = Distributed('abuse', 'weir', 'shadow_signals_local', cityHash64(stream, incarnation, facet_partition));
CREATE TABLE IF NOT EXISTS weir.decisions_local ON CLUSTER 'abuse'
(
    stream String CODEC(ZSTD(1)),
    incarnation UInt32 CODEC(ZSTD(1)),
    src_partition UInt32 CODEC(ZSTD(1)),
    src_offset UInt64 CODEC(Delta, ZSTD(1)),
    received DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    id String CODEC(ZSTD(1)),
    time DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    gateway LowCardinality(String) CODEC(ZSTD(1)),
    tenant LowCardinality(String) CODEC(ZSTD(1)),
    route LowCardinality(String) CODEC(ZSTD(1)),
    request_id String CODEC(ZSTD(1)),
    trace_id String CODEC(ZSTD(1)),
    entities Map(String, String) CODEC(ZSTD(1)),
    action LowCardinality(String) CODEC(ZSTD(1)),
    would LowCardinality(String) CODEC(ZSTD(1)),
    phase LowCardinality(String) CODEC(ZSTD(1)),
    level LowCardinality(String) CODEC(ZSTD(1)),
    score UInt8,
    observed_score UInt8,
    rules Array(LowCardinality(String)) CODEC(ZSTD(1)),
    reason_codes Array(LowCardinality(String)) CODEC(ZSTD(1)),
    reasons String CODEC(ZSTD(1)),
    limits Array(LowCardinality(String)) CODEC(ZSTD(1)),
    limited_by LowCardinality(String) CODEC(ZSTD(1)),
    switch LowCardinality(String) CODEC(ZSTD(1)),
    policy LowCardinality(String) CODEC(ZSTD(1)),
    policy_version LowCardinality(String) CODEC(ZSTD(1)),
    degraded UInt8,
    degraded_by LowCardinality(String) CODEC(ZSTD(1)),
    last_known_good UInt8,
    latency_us Int64 CODEC(ZSTD(1)),
    INDEX by_id id TYPE bloom_filter(0.01) GRANULARITY 16,
    INDEX by_request_id request_id TYPE bloom_filter(0.01) GRANULARITY 16,
    INDEX by_entity mapValues(entities) TYPE bloom_filter(0.01) GRANULARITY 16
)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/weir/decisions_local', '{replica}')
PARTITION BY (stream, incarnation, intDiv(src_offset, 33554432))
ORDER BY (stream, incarnation, time, id)
TTL toDateTime(received) + INTERVAL 2160 HOUR
SETTINGS index_granularity = 2048, min_compress_block_size = 32768;
CREATE TABLE IF NOT EXISTS weir.decisions ON CLUSTER 'abuse' AS weir.decisions_local ENGINE = Distributed('abuse', 'weir', 'decisions_local', cityHash64(id));
ALTER TABLE weir.events_local ON CLUSTER 'abuse'
    ADD COLUMN IF NOT EXISTS incarnation UInt32 CODEC(ZSTD(1)) AFTER stream,
    ADD COLUMN IF NOT EXISTS src_partition UInt32 CODEC(ZSTD(1)) AFTER incarnation,
    ADD COLUMN IF NOT EXISTS src_offset UInt64 CODEC(Delta, ZSTD(1)) AFTER src_partition,
    ADD COLUMN IF NOT EXISTS owner UInt64 CODEC(Delta, ZSTD(1)) AFTER src_offset,
    ADD COLUMN IF NOT EXISTS received DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) AFTER owner,
    ADD COLUMN IF NOT EXISTS id String CODEC(ZSTD(1)) AFTER received,
    ADD COLUMN IF NOT EXISTS time DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) AFTER id,
    ADD COLUMN IF NOT EXISTS schema_version Int64 CODEC(ZSTD(1)) AFTER time,
    ADD COLUMN IF NOT EXISTS gateway LowCardinality(String) CODEC(ZSTD(1)) AFTER schema_version,
    ADD COLUMN IF NOT EXISTS tenant LowCardinality(String) CODEC(ZSTD(1)) AFTER gateway,
    ADD COLUMN IF NOT EXISTS account String CODEC(ZSTD(1)) AFTER tenant,
    ADD COLUMN IF NOT EXISTS session String CODEC(ZSTD(1)) AFTER account,
    ADD COLUMN IF NOT EXISTS token String CODEC(ZSTD(1)) AFTER session,
    ADD COLUMN IF NOT EXISTS token_family String CODEC(ZSTD(1)) AFTER token,
    ADD COLUMN IF NOT EXISTS token_issued DateTime64(3, 'UTC') CODEC(ZSTD(1)) AFTER token_family,
    ADD COLUMN IF NOT EXISTS token_expires DateTime64(3, 'UTC') CODEC(ZSTD(1)) AFTER token_issued,
    ADD COLUMN IF NOT EXISTS grant LowCardinality(String) CODEC(ZSTD(1)) AFTER token_expires,
    ADD COLUMN IF NOT EXISTS request_id String CODEC(ZSTD(1)) AFTER grant,
    ADD COLUMN IF NOT EXISTS trace_id String CODEC(ZSTD(1)) AFTER request_id,
    ADD COLUMN IF NOT EXISTS method LowCardinality(String) CODEC(ZSTD(1)) AFTER trace_id,
    ADD COLUMN IF NOT EXISTS host LowCardinality(String) CODEC(ZSTD(1)) AFTER method,
    ADD COLUMN IF NOT EXISTS path String CODEC(ZSTD(1)) AFTER host,
    ADD COLUMN IF NOT EXISTS route LowCardinality(String) CODEC(ZSTD(1)) AFTER path,
    ADD COLUMN IF NOT EXISTS status Int64 CODEC(ZSTD(1)) AFTER route,
    ADD COLUMN IF NOT EXISTS latency_us Int64 CODEC(ZSTD(1)) AFTER status,
    ADD COLUMN IF NOT EXISTS request_bytes Int64 CODEC(ZSTD(1)) AFTER latency_us,
    ADD COLUMN IF NOT EXISTS response_bytes Int64 CODEC(ZSTD(1)) AFTER request_bytes,
    ADD COLUMN IF NOT EXISTS user_agent LowCardinality(String) CODEC(ZSTD(1)) AFTER response_bytes,
    ADD COLUMN IF NOT EXISTS ip String CODEC(ZSTD(1)) AFTER user_agent,
    ADD COLUMN IF NOT EXISTS forwarded_for String CODEC(ZSTD(1)) AFTER ip,
    ADD COLUMN IF NOT EXISTS ja4 LowCardinality(String) CODEC(ZSTD(1)) AFTER forwarded_for,
    ADD COLUMN IF NOT EXISTS device String CODEC(ZSTD(1)) AFTER ja4,
    ADD COLUMN IF NOT EXISTS device_model LowCardinality(String) CODEC(ZSTD(1)) AFTER device,
    ADD COLUMN IF NOT EXISTS os LowCardinality(String) CODEC(ZSTD(1)) AFTER device_model,
    ADD COLUMN IF NOT EXISTS os_version LowCardinality(String) CODEC(ZSTD(1)) AFTER os,
    ADD COLUMN IF NOT EXISTS patch_level LowCardinality(String) CODEC(ZSTD(1)) AFTER os_version,
    ADD COLUMN IF NOT EXISTS app LowCardinality(String) CODEC(ZSTD(1)) AFTER patch_level,
    ADD COLUMN IF NOT EXISTS app_version LowCardinality(String) CODEC(ZSTD(1)) AFTER app,
    ADD COLUMN IF NOT EXISTS sim LowCardinality(String) CODEC(ZSTD(1)) AFTER app_version,
    ADD COLUMN IF NOT EXISTS rooted UInt8 CODEC(ZSTD(1)) AFTER sim,
    ADD COLUMN IF NOT EXISTS emulator UInt8 CODEC(ZSTD(1)) AFTER rooted,
    ADD COLUMN IF NOT EXISTS signature LowCardinality(String) CODEC(ZSTD(1)) AFTER emulator,
    ADD COLUMN IF NOT EXISTS signature_reason LowCardinality(String) CODEC(ZSTD(1)) AFTER signature,
    ADD COLUMN IF NOT EXISTS key_id String CODEC(ZSTD(1)) AFTER signature_reason,
    ADD COLUMN IF NOT EXISTS nonce String CODEC(ZSTD(1)) AFTER key_id,
    ADD COLUMN IF NOT EXISTS client_time DateTime64(3, 'UTC') CODEC(ZSTD(1)) AFTER nonce,
    ADD COLUMN IF NOT EXISTS attestation LowCardinality(String) CODEC(ZSTD(1)) AFTER client_time,
    ADD COLUMN IF NOT EXISTS attestation_level LowCardinality(String) CODEC(ZSTD(1)) AFTER attestation,
    ADD COLUMN IF NOT EXISTS attestation_age_s Int64 CODEC(ZSTD(1)) AFTER attestation_level,
    ADD COLUMN IF NOT EXISTS pinning_error UInt8 CODEC(ZSTD(1)) AFTER attestation_age_s,
    ADD COLUMN IF NOT EXISTS object_type LowCardinality(String) CODEC(ZSTD(1)) AFTER pinning_error,
    ADD COLUMN IF NOT EXISTS object String CODEC(ZSTD(1)) AFTER object_type,
    ADD COLUMN IF NOT EXISTS auth LowCardinality(String) CODEC(ZSTD(1)) AFTER object,
    ADD COLUMN IF NOT EXISTS decision String CODEC(ZSTD(1)) AFTER auth,
    ADD COLUMN IF NOT EXISTS attrs String CODEC(ZSTD(1)) AFTER decision,
    ADD COLUMN IF NOT EXISTS referer String CODEC(ZSTD(1)) AFTER attrs,
    ADD COLUMN IF NOT EXISTS decision_action LowCardinality(String) CODEC(ZSTD(1)) AFTER referer,
    ADD COLUMN IF NOT EXISTS connecting_ip String CODEC(ZSTD(1)) AFTER decision_action,
    ADD COLUMN IF NOT EXISTS remote_user String CODEC(ZSTD(1)) AFTER connecting_ip,
    ADD COLUMN IF NOT EXISTS attestation_id String CODEC(ZSTD(1)) AFTER remote_user,
    ADD COLUMN IF NOT EXISTS attestation_counter Int64 CODEC(ZSTD(1)) AFTER attestation_id,
    ADD COLUMN IF NOT EXISTS client_ip String CODEC(ZSTD(1)) AFTER attestation_counter,
    ADD COLUMN IF NOT EXISTS net String CODEC(ZSTD(1)) AFTER client_ip,
    ADD COLUMN IF NOT EXISTS country LowCardinality(String) CODEC(ZSTD(1)) AFTER net,
    ADD COLUMN IF NOT EXISTS city LowCardinality(String) CODEC(ZSTD(1)) AFTER country,
    ADD COLUMN IF NOT EXISTS latitude_udeg Int64 CODEC(ZSTD(1)) AFTER city,
    ADD COLUMN IF NOT EXISTS longitude_udeg Int64 CODEC(ZSTD(1)) AFTER latitude_udeg,
    ADD COLUMN IF NOT EXISTS geo_radius_km Int64 CODEC(ZSTD(1)) AFTER longitude_udeg,
    ADD COLUMN IF NOT EXISTS asn Int64 CODEC(ZSTD(1)) AFTER geo_radius_km,
    ADD COLUMN IF NOT EXISTS as_org LowCardinality(String) CODEC(ZSTD(1)) AFTER asn,
    ADD COLUMN IF NOT EXISTS anonymiser LowCardinality(String) CODEC(ZSTD(1)) AFTER as_org,
    ADD COLUMN IF NOT EXISTS skewed UInt8 CODEC(ZSTD(1)) AFTER anonymiser,
    ADD COLUMN IF NOT EXISTS build LowCardinality(String) CODEC(ZSTD(1)) AFTER skewed,
    ADD COLUMN IF NOT EXISTS clipped UInt8 CODEC(ZSTD(1)) AFTER build,
    ADD COLUMN IF NOT EXISTS delayed UInt8 CODEC(ZSTD(1)) AFTER clipped,
    ADD COLUMN IF NOT EXISTS account_tried UInt8 CODEC(ZSTD(1)) AFTER delayed;
ALTER TABLE weir.events ON CLUSTER 'abuse'
    ADD COLUMN IF NOT EXISTS incarnation UInt32 CODEC(ZSTD(1)) AFTER stream,
    ADD COLUMN IF NOT EXISTS src_partition UInt32 CODEC(ZSTD(1)) AFTER incarnation,
    ADD COLUMN IF NOT EXISTS src_offset UInt64 CODEC(Delta, ZSTD(1)) AFTER src_partition,
    ADD COLUMN IF NOT EXISTS owner UInt64 CODEC(Delta, ZSTD(1)) AFTER src_offset,
    ADD COLUMN IF NOT EXISTS received DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) AFTER owner,
    ADD COLUMN IF NOT EXISTS id String CODEC(ZSTD(1)) AFTER received,
    ADD COLUMN IF NOT EXISTS time DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) AFTER id,
    ADD COLUMN IF NOT EXISTS schema_version Int64 CODEC(ZSTD(1)) AFTER time,
    ADD COLUMN IF NOT EXISTS gateway LowCardinality(String) CODEC(ZSTD(1)) AFTER schema_version,
    ADD COLUMN IF NOT EXISTS tenant LowCardinality(String) CODEC(ZSTD(1)) AFTER gateway,
    ADD COLUMN IF NOT EXISTS account String CODEC(ZSTD(1)) AFTER tenant,
    ADD COLUMN IF NOT EXISTS session String CODEC(ZSTD(1)) AFTER account,
    ADD COLUMN IF NOT EXISTS token String CODEC(ZSTD(1)) AFTER session,
    ADD COLUMN IF NOT EXISTS token_family String CODEC(ZSTD(1)) AFTER token,
    ADD COLUMN IF NOT EXISTS token_issued DateTime64(3, 'UTC') CODEC(ZSTD(1)) AFTER token_family,
    ADD COLUMN IF NOT EXISTS token_expires DateTime64(3, 'UTC') CODEC(ZSTD(1)) AFTER token_issued,
    ADD COLUMN IF NOT EXISTS grant LowCardinality(String) CODEC(ZSTD(1)) AFTER token_expires,
    ADD COLUMN IF NOT EXISTS request_id String CODEC(ZSTD(1)) AFTER grant,
    ADD COLUMN IF NOT EXISTS trace_id String CODEC(ZSTD(1)) AFTER request_id,
    ADD COLUMN IF NOT EXISTS method LowCardinality(String) CODEC(ZSTD(1)) AFTER trace_id,
    ADD COLUMN IF NOT EXISTS host LowCardinality(String) CODEC(ZSTD(1)) AFTER method,
    ADD COLUMN IF NOT EXISTS path String CODEC(ZSTD(1)) AFTER host,
    ADD COLUMN IF NOT EXISTS route LowCardinality(String) CODEC(ZSTD(1)) AFTER path,
    ADD COLUMN IF NOT EXISTS status Int64 CODEC(ZSTD(1)) AFTER route,
    ADD COLUMN IF NOT EXISTS latency_us Int64 CODEC(ZSTD(1)) AFTER status,
    ADD COLUMN IF NOT EXISTS request_bytes Int64 CODEC(ZSTD(1)) AFTER latency_us,
    ADD COLUMN IF NOT EXISTS response_bytes Int64 CODEC(ZSTD(1)) AFTER request_bytes,
    ADD COLUMN IF NOT EXISTS user_agent LowCardinality(String) CODEC(ZSTD(1)) AFTER response_bytes,
    ADD COLUMN IF NOT EXISTS ip String CODEC(ZSTD(1)) AFTER user_agent,
    ADD COLUMN IF NOT EXISTS forwarded_for String CODEC(ZSTD(1)) AFTER ip,
    ADD COLUMN IF NOT EXISTS ja4 LowCardinality(String) CODEC(ZSTD(1)) AFTER forwarded_for,
    ADD COLUMN IF NOT EXISTS device String CODEC(ZSTD(1)) AFTER ja4,
    ADD COLUMN IF NOT EXISTS device_model LowCardinality(String) CODEC(ZSTD(1)) AFTER device,
    ADD COLUMN IF NOT EXISTS os LowCardinality(String) CODEC(ZSTD(1)) AFTER device_model,
    ADD COLUMN IF NOT EXISTS os_version LowCardinality(String) CODEC(ZSTD(1)) AFTER os,
    ADD COLUMN IF NOT EXISTS patch_level LowCardinality(String) CODEC(ZSTD(1)) AFTER os_version,
    ADD COLUMN IF NOT EXISTS app LowCardinality(String) CODEC(ZSTD(1)) AFTER patch_level,
    ADD COLUMN IF NOT EXISTS app_version LowCardinality(String) CODEC(ZSTD(1)) AFTER app,
    ADD COLUMN IF NOT EXISTS sim LowCardinality(String) CODEC(ZSTD(1)) AFTER app_version,
    ADD COLUMN IF NOT EXISTS rooted UInt8 CODEC(ZSTD(1)) AFTER sim,
    ADD COLUMN IF NOT EXISTS emulator UInt8 CODEC(ZSTD(1)) AFTER rooted,
    ADD COLUMN IF NOT EXISTS signature LowCardinality(String) CODEC(ZSTD(1)) AFTER emulator,
    ADD COLUMN IF NOT EXISTS signature_reason LowCardinality(String) CODEC(ZSTD(1)) AFTER signature,
    ADD COLUMN IF NOT EXISTS key_id String CODEC(ZSTD(1)) AFTER signature_reason,
    ADD COLUMN IF NOT EXISTS nonce String CODEC(ZSTD(1)) AFTER key_id,
    ADD COLUMN IF NOT EXISTS client_time DateTime64(3, 'UTC') CODEC(ZSTD(1)) AFTER nonce,
    ADD COLUMN IF NOT EXISTS attestation LowCardinality(String) CODEC(ZSTD(1)) AFTER client_time,
    ADD COLUMN IF NOT EXISTS attestation_level LowCardinality(String) CODEC(ZSTD(1)) AFTER attestation,
    ADD COLUMN IF NOT EXISTS attestation_age_s Int64 CODEC(ZSTD(1)) AFTER attestation_level,
    ADD COLUMN IF NOT EXISTS pinning_error UInt8 CODEC(ZSTD(1)) AFTER attestation_age_s,
    ADD COLUMN IF NOT EXISTS object_type LowCardinality(String) CODEC(ZSTD(1)) AFTER pinning_error,
    ADD COLUMN IF NOT EXISTS object String CODEC(ZSTD(1)) AFTER object_type,
    ADD COLUMN IF NOT EXISTS auth LowCardinality(String) CODEC(ZSTD(1)) AFTER object,
    ADD COLUMN IF NOT EXISTS decision String CODEC(ZSTD(1)) AFTER auth,
    ADD COLUMN IF NOT EXISTS attrs String CODEC(ZSTD(1)) AFTER decision,
    ADD COLUMN IF NOT EXISTS referer String CODEC(ZSTD(1)) AFTER attrs,
    ADD COLUMN IF NOT EXISTS decision_action LowCardinality(String) CODEC(ZSTD(1)) AFTER referer,
    ADD COLUMN IF NOT EXISTS connecting_ip String CODEC(ZSTD(1)) AFTER decision_action,
    ADD COLUMN IF NOT EXISTS remote_user String CODEC(ZSTD(1)) AFTER connecting_ip,
    ADD COLUMN IF NOT EXISTS attestation_id String CODEC(ZSTD(1)) AFTER remote_user,
    ADD COLUMN IF NOT EXISTS attestation_counter Int64 CODEC(ZSTD(1)) AFTER attestation_id,
    ADD COLUMN IF NOT EXISTS client_ip String CODEC(ZSTD(1)) AFTER attestation_counter,
    ADD COLUMN IF NOT EXISTS net String CODEC(ZSTD(1)) AFTER client_ip,
    ADD COLUMN IF NOT EXISTS country LowCardinality(String) CODEC(ZSTD(1)) AFTER net,
    ADD COLUMN IF NOT EXISTS city LowCardinality(String) CODEC(ZSTD(1)) AFTER country,
    ADD COLUMN IF NOT EXISTS latitude_udeg Int64 CODEC(ZSTD(1)) AFTER city,
    ADD COLUMN IF NOT EXISTS longitude_udeg Int64 CODEC(ZSTD(1)) AFTER latitude_udeg,
    ADD COLUMN IF NOT EXISTS geo_radius_km Int64 CODEC(ZSTD(1)) AFTER longitude_udeg,
    ADD COLUMN IF NOT EXISTS asn Int64 CODEC(ZSTD(1)) AFTER geo_radius_km,
    ADD COLUMN IF NOT EXISTS as_org LowCardinality(String) CODEC(ZSTD(1)) AFTER asn,
    ADD COLUMN IF NOT EXISTS anonymiser LowCardinality(String) CODEC(ZSTD(1)) AFTER as_org,
    ADD COLUMN IF NOT EXISTS skewed UInt8 CODEC(ZSTD(1)) AFTER anonymiser,
    ADD COLUMN IF NOT EXISTS build LowCardinality(String) CODEC(ZSTD(1)) AFTER skewed,
    ADD COLUMN IF NOT EXISTS clipped UInt8 CODEC(ZSTD(1)) AFTER build,
    ADD COLUMN IF NOT EXISTS delayed UInt8 CODEC(ZSTD(1)) AFTER clipped,
    ADD COLUMN IF NOT EXISTS account_tried UInt8 CODEC(ZSTD(1)) AFTER delayed;
ALTER TABLE weir.signals_local ON CLUSTER 'abuse'
    ADD COLUMN IF NOT EXISTS incarnation UInt32 CODEC(ZSTD(1)) AFTER stream,
    ADD COLUMN IF NOT EXISTS facet_partition UInt32 CODEC(ZSTD(1)) AFTER incarnation,
    ADD COLUMN IF NOT EXISTS facet_offset UInt64 CODEC(Delta, ZSTD(1)) AFTER facet_partition,
    ADD COLUMN IF NOT EXISTS facet_index UInt32 CODEC(ZSTD(1)) AFTER facet_offset,
    ADD COLUMN IF NOT EXISTS rule String CODEC(ZSTD(1)) AFTER facet_index,
    ADD COLUMN IF NOT EXISTS rules_version LowCardinality(String) CODEC(ZSTD(1)) AFTER rule,
    ADD COLUMN IF NOT EXISTS tenant LowCardinality(String) CODEC(ZSTD(1)) AFTER rules_version,
    ADD COLUMN IF NOT EXISTS entity_kind LowCardinality(String) CODEC(ZSTD(1)) AFTER tenant,
    ADD COLUMN IF NOT EXISTS entity String CODEC(ZSTD(1)) AFTER entity_kind,
    ADD COLUMN IF NOT EXISTS group_kind LowCardinality(String) CODEC(ZSTD(1)) AFTER entity,
    ADD COLUMN IF NOT EXISTS group_key String CODEC(ZSTD(1)) AFTER group_kind,
    ADD COLUMN IF NOT EXISTS category LowCardinality(String) CODEC(ZSTD(1)) AFTER group_key,
    ADD COLUMN IF NOT EXISTS reason LowCardinality(String) CODEC(ZSTD(1)) AFTER category,
    ADD COLUMN IF NOT EXISTS phase LowCardinality(String) CODEC(ZSTD(1)) AFTER reason,
    ADD COLUMN IF NOT EXISTS tier UInt8 AFTER phase,
    ADD COLUMN IF NOT EXISTS weight UInt8 AFTER tier,
    ADD COLUMN IF NOT EXISTS half_life_s UInt32 CODEC(ZSTD(1)) AFTER weight,
    ADD COLUMN IF NOT EXISTS lowers UInt8 AFTER half_life_s,
    ADD COLUMN IF NOT EXISTS clears UInt8 AFTER lowers,
    ADD COLUMN IF NOT EXISTS asks LowCardinality(String) CODEC(ZSTD(1)) AFTER clears,
    ADD COLUMN IF NOT EXISTS evidence String CODEC(ZSTD(1)) AFTER asks,
    ADD COLUMN IF NOT EXISTS time DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) AFTER evidence,
    ADD COLUMN IF NOT EXISTS src_partition UInt32 CODEC(ZSTD(1)) AFTER time,
    ADD COLUMN IF NOT EXISTS src_offset UInt64 CODEC(Delta, ZSTD(1)) AFTER src_partition,
    ADD COLUMN IF NOT EXISTS late UInt8 AFTER src_offset,
    ADD COLUMN IF NOT EXISTS received DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) AFTER late;
ALTER TABLE weir.signals ON CLUSTER 'abuse'
    ADD COLUMN IF NOT EXISTS incarnation UInt32 CODEC(ZSTD(1)) AFTER stream,
    ADD COLUMN IF NOT EXISTS facet_partition UInt32 CODEC(ZSTD(1)) AFTER incarnation,
    ADD COLUMN IF NOT EXISTS facet_offset UInt64 CODEC(Delta, ZSTD(1)) AFTER facet_partition,
    ADD COLUMN IF NOT EXISTS facet_index UInt32 CODEC(ZSTD(1)) AFTER facet_offset,
    ADD COLUMN IF NOT EXISTS rule String CODEC(ZSTD(1)) AFTER facet_index,
    ADD COLUMN IF NOT EXISTS rules_version LowCardinality(String) CODEC(ZSTD(1)) AFTER rule,
    ADD COLUMN IF NOT EXISTS tenant LowCardinality(String) CODEC(ZSTD(1)) AFTER rules_version,
    ADD COLUMN IF NOT EXISTS entity_kind LowCardinality(String) CODEC(ZSTD(1)) AFTER tenant,
    ADD COLUMN IF NOT EXISTS entity String CODEC(ZSTD(1)) AFTER entity_kind,
    ADD COLUMN IF NOT EXISTS group_kind LowCardinality(String) CODEC(ZSTD(1)) AFTER entity,
    ADD COLUMN IF NOT EXISTS group_key String CODEC(ZSTD(1)) AFTER group_kind,
    ADD COLUMN IF NOT EXISTS category LowCardinality(String) CODEC(ZSTD(1)) AFTER group_key,
    ADD COLUMN IF NOT EXISTS reason LowCardinality(String) CODEC(ZSTD(1)) AFTER category,
    ADD COLUMN IF NOT EXISTS phase LowCardinality(String) CODEC(ZSTD(1)) AFTER reason,
    ADD COLUMN IF NOT EXISTS tier UInt8 AFTER phase,
    ADD COLUMN IF NOT EXISTS weight UInt8 AFTER tier,
    ADD COLUMN IF NOT EXISTS half_life_s UInt32 CODEC(ZSTD(1)) AFTER weight,
    ADD COLUMN IF NOT EXISTS lowers UInt8 AFTER half_life_s,
    ADD COLUMN IF NOT EXISTS clears UInt8 AFTER lowers,
    ADD COLUMN IF NOT EXISTS asks LowCardinality(String) CODEC(ZSTD(1)) AFTER clears,
    ADD COLUMN IF NOT EXISTS evidence String CODEC(ZSTD(1)) AFTER asks,
    ADD COLUMN IF NOT EXISTS time DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) AFTER evidence,
    ADD COLUMN IF NOT EXISTS src_partition UInt32 CODEC(ZSTD(1)) AFTER time,
    ADD COLUMN IF NOT EXISTS src_offset UInt64 CODEC(Delta, ZSTD(1)) AFTER src_partition,
    ADD COLUMN IF NOT EXISTS late UInt8 AFTER src_offset,
    ADD COLUMN IF NOT EXISTS received DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) AFTER late;
ALTER TABLE weir.shadow_signals_local ON CLUSTER 'abuse'
    ADD COLUMN IF NOT EXISTS incarnation UInt32 CODEC(ZSTD(1)) AFTER stream,
    ADD COLUMN IF NOT EXISTS facet_partition UInt32 CODEC(ZSTD(1)) AFTER incarnation,
    ADD COLUMN IF NOT EXISTS facet_offset UInt64 CODEC(Delta, ZSTD(1)) AFTER facet_partition,
    ADD COLUMN IF NOT EXISTS facet_index UInt32 CODEC(ZSTD(1)) AFTER facet_offset,
    ADD COLUMN IF NOT EXISTS rule String CODEC(ZSTD(1)) AFTER facet_index,
    ADD COLUMN IF NOT EXISTS rules_version LowCardinality(String) CODEC(ZSTD(1)) AFTER rule,
    ADD COLUMN IF NOT EXISTS tenant LowCardinality(String) CODEC(ZSTD(1)) AFTER rules_version,
    ADD COLUMN IF NOT EXISTS entity_kind LowCardinality(String) CODEC(ZSTD(1)) AFTER tenant,
    ADD COLUMN IF NOT EXISTS entity String CODEC(ZSTD(1)) AFTER entity_kind,
    ADD COLUMN IF NOT EXISTS group_kind LowCardinality(String) CODEC(ZSTD(1)) AFTER entity,
    ADD COLUMN IF NOT EXISTS group_key String CODEC(ZSTD(1)) AFTER group_kind,
    ADD COLUMN IF NOT EXISTS category LowCardinality(String) CODEC(ZSTD(1)) AFTER group_key,
    ADD COLUMN IF NOT EXISTS reason LowCardinality(String) CODEC(ZSTD(1)) AFTER category,
    ADD COLUMN IF NOT EXISTS phase LowCardinality(String) CODEC(ZSTD(1)) AFTER reason,
    ADD COLUMN IF NOT EXISTS tier UInt8 AFTER phase,
    ADD COLUMN IF NOT EXISTS weight UInt8 AFTER tier,
    ADD COLUMN IF NOT EXISTS half_life_s UInt32 CODEC(ZSTD(1)) AFTER weight,
    ADD COLUMN IF NOT EXISTS lowers UInt8 AFTER half_life_s,
    ADD COLUMN IF NOT EXISTS clears UInt8 AFTER lowers,
    ADD COLUMN IF NOT EXISTS asks LowCardinality(String) CODEC(ZSTD(1)) AFTER clears,
    ADD COLUMN IF NOT EXISTS evidence String CODEC(ZSTD(1)) AFTER asks,
    ADD COLUMN IF NOT EXISTS time DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) AFTER evidence,
    ADD COLUMN IF NOT EXISTS src_partition UInt32 CODEC(ZSTD(1)) AFTER time,
    ADD COLUMN IF NOT EXISTS src_offset UInt64 CODEC(Delta, ZSTD(1)) AFTER src_partition,
    ADD COLUMN IF NOT EXISTS late UInt8 AFTER src_offset,
    ADD COLUMN IF NOT EXISTS received DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) AFTER late;
ALTER TABLE weir.shadow_signals ON CLUSTER 'abuse'
    ADD COLUMN IF NOT EXISTS incarnation UInt32 CODEC(ZSTD(1)) AFTER stream,
    ADD COLUMN IF NOT EXISTS facet_partition UInt32 CODEC(ZSTD(1)) AFTER incarnation,
    ADD COLUMN IF NOT EXISTS facet_offset UInt64 CODEC(Delta, ZSTD(1)) AFTER facet_partition,
    ADD COLUMN IF NOT EXISTS facet_index UInt32 CODEC(ZSTD(1)) AFTER facet_offset,
    ADD COLUMN IF NOT EXISTS rule String CODEC(ZSTD(1)) AFTER facet_index,
    ADD COLUMN IF NOT EXISTS rules_version LowCardinality(String) CODEC(ZSTD(1)) AFTER rule,
    ADD COLUMN IF NOT EXISTS tenant LowCardinality(String) CODEC(ZSTD(1)) AFTER rules_version,
    ADD COLUMN IF NOT EXISTS entity_kind LowCardinality(String) CODEC(ZSTD(1)) AFTER tenant,
    ADD COLUMN IF NOT EXISTS entity String CODEC(ZSTD(1)) AFTER entity_kind,
    ADD COLUMN IF NOT EXISTS group_kind LowCardinality(String) CODEC(ZSTD(1)) AFTER entity,
    ADD COLUMN IF NOT EXISTS group_key String CODEC(ZSTD(1)) AFTER group_kind,
    ADD COLUMN IF NOT EXISTS category LowCardinality(String) CODEC(ZSTD(1)) AFTER group_key,
    ADD COLUMN IF NOT EXISTS reason LowCardinality(String) CODEC(ZSTD(1)) AFTER category,
    ADD COLUMN IF NOT EXISTS phase LowCardinality(String) CODEC(ZSTD(1)) AFTER reason,
    ADD COLUMN IF NOT EXISTS tier UInt8 AFTER phase,
    ADD COLUMN IF NOT EXISTS weight UInt8 AFTER tier,
    ADD COLUMN IF NOT EXISTS half_life_s UInt32 CODEC(ZSTD(1)) AFTER weight,
    ADD COLUMN IF NOT EXISTS lowers UInt8 AFTER half_life_s,
    ADD COLUMN IF NOT EXISTS clears UInt8 AFTER lowers,
    ADD COLUMN IF NOT EXISTS asks LowCardinality(String) CODEC(ZSTD(1)) AFTER clears,
    ADD COLUMN IF NOT EXISTS evidence String CODEC(ZSTD(1)) AFTER asks,
    ADD COLUMN IF NOT EXISTS time DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) AFTER evidence,
    ADD COLUMN IF NOT EXISTS src_partition UInt32 CODEC(ZSTD(1)) AFTER time,
    ADD COLUMN IF NOT EXISTS src_offset UInt64 CODEC(Delta, ZSTD(1)) AFTER src_partition,
    ADD COLUMN IF NOT EXISTS late UInt8 AFTER src_offset,
    ADD COLUMN IF NOT EXISTS received DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) AFTER late;
ALTER TABLE weir.decisions_local ON CLUSTER 'abuse'
    ADD COLUMN IF NOT EXISTS incarnation UInt32 CODEC(ZSTD(1)) AFTER stream,
    ADD COLUMN IF NOT EXISTS src_partition UInt32 CODEC(ZSTD(1)) AFTER incarnation,
    ADD COLUMN IF NOT EXISTS src_offset UInt64 CODEC(Delta, ZSTD(1)) AFTER src_partition,
    ADD COLUMN IF NOT EXISTS received DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) AFTER src_offset,
    ADD COLUMN IF NOT EXISTS id String CODEC(ZSTD(1)) AFTER received,
    ADD COLUMN IF NOT EXISTS time DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) AFTER id,
    ADD COLUMN IF NOT EXISTS gateway LowCardinality(String) CODEC(ZSTD(1)) AFTER time,
    ADD COLUMN IF NOT EXISTS tenant LowCardinality(String) CODEC(ZSTD(1)) AFTER gateway,
    ADD COLUMN IF NOT EXISTS route LowCardinality(String) CODEC(ZSTD(1)) AFTER tenant,
    ADD COLUMN IF NOT EXISTS request_id String CODEC(ZSTD(1)) AFTER route,
    ADD COLUMN IF NOT EXISTS trace_id String CODEC(ZSTD(1)) AFTER request_id,
    ADD COLUMN IF NOT EXISTS entities Map(String, String) CODEC(ZSTD(1)) AFTER trace_id,
    ADD COLUMN IF NOT EXISTS action LowCardinality(String) CODEC(ZSTD(1)) AFTER entities,
    ADD COLUMN IF NOT EXISTS would LowCardinality(String) CODEC(ZSTD(1)) AFTER action,
    ADD COLUMN IF NOT EXISTS phase LowCardinality(String) CODEC(ZSTD(1)) AFTER would,
    ADD COLUMN IF NOT EXISTS level LowCardinality(String) CODEC(ZSTD(1)) AFTER phase,
    ADD COLUMN IF NOT EXISTS score UInt8 AFTER level,
    ADD COLUMN IF NOT EXISTS observed_score UInt8 AFTER score,
    ADD COLUMN IF NOT EXISTS rules Array(LowCardinality(String)) CODEC(ZSTD(1)) AFTER observed_score,
    ADD COLUMN IF NOT EXISTS reason_codes Array(LowCardinality(String)) CODEC(ZSTD(1)) AFTER rules,
    ADD COLUMN IF NOT EXISTS reasons String CODEC(ZSTD(1)) AFTER reason_codes,
    ADD COLUMN IF NOT EXISTS limits Array(LowCardinality(String)) CODEC(ZSTD(1)) AFTER reasons,
    ADD COLUMN IF NOT EXISTS limited_by LowCardinality(String) CODEC(ZSTD(1)) AFTER limits,
    ADD COLUMN IF NOT EXISTS switch LowCardinality(String) CODEC(ZSTD(1)) AFTER limited_by,
    ADD COLUMN IF NOT EXISTS policy LowCardinality(String) CODEC(ZSTD(1)) AFTER switch,
    ADD COLUMN IF NOT EXISTS policy_version LowCardinality(String) CODEC(ZSTD(1)) AFTER policy,
    ADD COLUMN IF NOT EXISTS degraded UInt8 AFTER policy_version,
    ADD COLUMN IF NOT EXISTS degraded_by LowCardinality(String) CODEC(ZSTD(1)) AFTER degraded,
    ADD COLUMN IF NOT EXISTS last_known_good UInt8 AFTER degraded_by,
    ADD COLUMN IF NOT EXISTS latency_us Int64 CODEC(ZSTD(1)) AFTER last_known_good;
ALTER TABLE weir.decisions ON CLUSTER 'abuse'
    ADD COLUMN IF NOT EXISTS incarnation UInt32 CODEC(ZSTD(1)) AFTER stream,
    ADD COLUMN IF NOT EXISTS src_partition UInt32 CODEC(ZSTD(1)) AFTER incarnation,
    ADD COLUMN IF NOT EXISTS src_offset UInt64 CODEC(Delta, ZSTD(1)) AFTER src_partition,
    ADD COLUMN IF NOT EXISTS received DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) AFTER src_offset,
    ADD COLUMN IF NOT EXISTS id String CODEC(ZSTD(1)) AFTER received,
    ADD COLUMN IF NOT EXISTS time DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) AFTER id,
    ADD COLUMN IF NOT EXISTS gateway LowCardinality(String) CODEC(ZSTD(1)) AFTER time,
    ADD COLUMN IF NOT EXISTS tenant LowCardinality(String) CODEC(ZSTD(1)) AFTER gateway,
    ADD COLUMN IF NOT EXISTS route LowCardinality(String) CODEC(ZSTD(1)) AFTER tenant,
    ADD COLUMN IF NOT EXISTS request_id String CODEC(ZSTD(1)) AFTER route,
    ADD COLUMN IF NOT EXISTS trace_id String CODEC(ZSTD(1)) AFTER request_id,
    ADD COLUMN IF NOT EXISTS entities Map(String, String) CODEC(ZSTD(1)) AFTER trace_id,
    ADD COLUMN IF NOT EXISTS action LowCardinality(String) CODEC(ZSTD(1)) AFTER entities,
    ADD COLUMN IF NOT EXISTS would LowCardinality(String) CODEC(ZSTD(1)) AFTER action,
    ADD COLUMN IF NOT EXISTS phase LowCardinality(String) CODEC(ZSTD(1)) AFTER would,
    ADD COLUMN IF NOT EXISTS level LowCardinality(String) CODEC(ZSTD(1)) AFTER phase,
    ADD COLUMN IF NOT EXISTS score UInt8 AFTER level,
    ADD COLUMN IF NOT EXISTS observed_score UInt8 AFTER score,
    ADD COLUMN IF NOT EXISTS rules Array(LowCardinality(String)) CODEC(ZSTD(1)) AFTER observed_score,
    ADD COLUMN IF NOT EXISTS reason_codes Array(LowCardinality(String)) CODEC(ZSTD(1)) AFTER rules,
    ADD COLUMN IF NOT EXISTS reasons String CODEC(ZSTD(1)) AFTER reason_codes,
    ADD COLUMN IF NOT EXISTS limits Array(LowCardinality(String)) CODEC(ZSTD(1)) AFTER reasons,
    ADD COLUMN IF NOT EXISTS limited_by LowCardinality(String) CODEC(ZSTD(1)) AFTER limits,
    ADD COLUMN IF NOT EXISTS switch LowCardinality(String) CODEC(ZSTD(1)) AFTER limited_by,
    ADD COLUMN IF NOT EXISTS policy LowCardinality(String) CODEC(ZSTD(1)) AFTER switch,
    ADD COLUMN IF NOT EXISTS policy_version LowCardinality(String) CODEC(ZSTD(1)) AFTER policy,
    ADD COLUMN IF NOT EXISTS degraded UInt8 AFTER policy_version,
    ADD COLUMN IF NOT EXISTS degraded_by LowCardinality(String) CODEC(ZSTD(1)) AFTER degraded,
    ADD COLUMN IF NOT EXISTS last_known_good UInt8 AFTER degraded_by,
    ADD COLUMN IF NOT EXISTS latency_us Int64 CODEC(ZSTD(1)) AFTER last_known_good;
CREATE TABLE IF NOT EXISTS weir.event_minutes_local ON CLUSTER 'abuse'
(
    minute DateTime('UTC') CODEC(Delta, ZSTD(1)),
    stream LowCardinality(String) CODEC(ZSTD(1)),
    incarnation UInt32 CODEC(ZSTD(1)),
    src_partition UInt32 CODEC(ZSTD(1)),
    block UInt64 CODEC(Delta, ZSTD(1)),
    version UInt64 CODEC(ZSTD(1)),
    day Date CODEC(ZSTD(1)),
    tenants Array(LowCardinality(String)) CODEC(ZSTD(1)),
    routes Array(LowCardinality(String)) CODEC(ZSTD(1)),
    methods Array(LowCardinality(String)) CODEC(ZSTD(1)),
    statuses Array(UInt16) CODEC(ZSTD(1)),
    auths Array(LowCardinality(String)) CODEC(ZSTD(1)),
    actions Array(LowCardinality(String)) CODEC(ZSTD(1)),
    events Array(UInt32) CODEC(ZSTD(1)),
    latencies_us Array(UInt64) CODEC(ZSTD(1)),
    bytes Array(UInt64) CODEC(ZSTD(1)),
    INDEX by_block block TYPE minmax GRANULARITY 1
)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/weir/event_minutes_local', '{replica}', version)
PARTITION BY (stream, incarnation, intDiv(block, 4096))
ORDER BY (minute, stream, incarnation, src_partition, block)
TTL toDateTime(day) + INTERVAL 9624 HOUR
SETTINGS index_granularity = 512;
CREATE TABLE IF NOT EXISTS weir.event_minutes ON CLUSTER 'abuse' AS weir.event_minutes_local ENGINE = Distributed('abuse', 'weir', 'event_minutes_local', cityHash64(stream, incarnation, src_partition));
CREATE TABLE IF NOT EXISTS weir.entity_minutes_local ON CLUSTER 'abuse'
(
    entity_kind LowCardinality(String) CODEC(ZSTD(1)),
    minute DateTime('UTC') CODEC(Delta, ZSTD(1)),
    stream LowCardinality(String) CODEC(ZSTD(1)),
    incarnation UInt32 CODEC(ZSTD(1)),
    src_partition UInt32 CODEC(ZSTD(1)),
    block UInt64 CODEC(Delta, ZSTD(1)),
    version UInt64 CODEC(ZSTD(1)),
    day Date CODEC(ZSTD(1)),
    tenants Array(LowCardinality(String)) CODEC(ZSTD(1)),
    entities Array(String) CODEC(ZSTD(1)),
    events Array(UInt32) CODEC(ZSTD(1)),
    failures Array(UInt32) CODEC(ZSTD(1)),
    errors Array(UInt32) CODEC(ZSTD(1)),
    refused Array(UInt32) CODEC(ZSTD(1)),
    INDEX by_block block TYPE minmax GRANULARITY 1
)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/weir/entity_minutes_local', '{replica}', version)
PARTITION BY (stream, incarnation, intDiv(block, 4096))
ORDER BY (entity_kind, minute, stream, incarnation, src_partition, block)
TTL toDateTime(day) + INTERVAL 2184 HOUR
SETTINGS index_granularity = 64;
CREATE TABLE IF NOT EXISTS weir.entity_minutes ON CLUSTER 'abuse' AS weir.entity_minutes_local ENGINE = Distributed('abuse', 'weir', 'entity_minutes_local', cityHash64(stream, incarnation, src_partition));
CREATE TABLE IF NOT EXISTS weir.dead_letters_local ON CLUSTER 'abuse'
(
    stream LowCardinality(String) CODEC(ZSTD(1)),
    incarnation UInt32 CODEC(ZSTD(1)),
    source LowCardinality(String) CODEC(ZSTD(1)),
    src_partition UInt32 CODEC(ZSTD(1)),
    src_offset UInt64 CODEC(Delta, ZSTD(1)),
    owner UInt64 CODEC(ZSTD(1)),
    received DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    until UInt64 CODEC(ZSTD(1)),
    time DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    reason LowCardinality(String) CODEC(ZSTD(1)),
    detail String CODEC(ZSTD(1)),
    bytes UInt64 CODEC(ZSTD(1)),
    record_key String CODEC(ZSTD(1)),
    sample String CODEC(ZSTD(1))
)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/weir/dead_letters_local', '{replica}', owner)
PARTITION BY (stream, incarnation, intDiv(src_offset, 33554432))
ORDER BY (stream, incarnation, source, src_partition, src_offset)
TTL toDateTime(received) + INTERVAL 2160 HOUR;
CREATE TABLE IF NOT EXISTS weir.dead_letters ON CLUSTER 'abuse' AS weir.dead_letters_local ENGINE = Distributed('abuse', 'weir', 'dead_letters_local', cityHash64(stream, incarnation, src_partition));
CREATE TABLE IF NOT EXISTS weir.rule_versions_local ON CLUSTER 'abuse'
(
    stream LowCardinality(String) CODEC(ZSTD(1)),
    incarnation UInt32 CODEC(ZSTD(1)),
    kind LowCardinality(String) CODEC(ZSTD(1)),
    time DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    version String CODEC(ZSTD(1)),
    program LowCardinality(String) CODEC(ZSTD(1)),
    instance String CODEC(ZSTD(1)),
    received DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    who String CODEC(ZSTD(1)),
    source String CODEC(ZSTD(1)),
    count UInt32 CODEC(ZSTD(1)),
    text String CODEC(ZSTD(1))
)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/weir/rule_versions_local', '{replica}')
PARTITION BY (stream, incarnation)
ORDER BY (stream, incarnation, kind, time, version, program, instance);
CREATE TABLE IF NOT EXISTS weir.rule_versions ON CLUSTER 'abuse' AS weir.rule_versions_local ENGINE = Distributed('abuse', 'weir', 'rule_versions_local', cityHash64(stream, version));
CREATE TABLE IF NOT EXISTS weir.labels_local ON CLUSTER 'abuse'
(
    stream String CODEC(ZSTD(1)),
    incarnation UInt32 CODEC(ZSTD(1)),
    src_partition UInt32 CODEC(ZSTD(1)),
    src_offset UInt64 CODEC(Delta, ZSTD(1)),
    owner UInt64 CODEC(ZSTD(1)),
    received DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    id String CODEC(ZSTD(1)),
    time DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    tenant String CODEC(ZSTD(1)),
    entity_kind String CODEC(ZSTD(1)),
    entity String CODEC(ZSTD(1)),
    rule String CODEC(ZSTD(1)),
    who String CODEC(ZSTD(1)),
    reason String CODEC(ZSTD(1)),
    expires DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    label String CODEC(ZSTD(1))
)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/weir/labels_local', '{replica}', owner)
PARTITION BY (stream, incarnation, intDiv(src_offset, 33554432))
ORDER BY (stream, incarnation, src_partition, src_offset)
TTL toDateTime(received) + INTERVAL 2160 HOUR;
CREATE TABLE IF NOT EXISTS weir.labels ON CLUSTER 'abuse' AS weir.labels_local ENGINE = Distributed('abuse', 'weir', 'labels_local', cityHash64(stream, incarnation, src_partition));
CREATE TABLE IF NOT EXISTS weir.audit_local ON CLUSTER 'abuse'
(
    stream String CODEC(ZSTD(1)),
    incarnation UInt32 CODEC(ZSTD(1)),
    src_partition UInt32 CODEC(ZSTD(1)),
    src_offset UInt64 CODEC(Delta, ZSTD(1)),
    owner UInt64 CODEC(ZSTD(1)),
    received DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    id String CODEC(ZSTD(1)),
    time DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    tenant String CODEC(ZSTD(1)),
    entity_kind String CODEC(ZSTD(1)),
    entity String CODEC(ZSTD(1)),
    rule String CODEC(ZSTD(1)),
    who String CODEC(ZSTD(1)),
    reason String CODEC(ZSTD(1)),
    expires DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    action String CODEC(ZSTD(1)),
    category String CODEC(ZSTD(1)),
    entity_digest String CODEC(ZSTD(1)),
    origin String CODEC(ZSTD(1)),
    gate_action String CODEC(ZSTD(1))
)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/weir/audit_local', '{replica}', owner)
PARTITION BY (stream, incarnation, intDiv(src_offset, 33554432))
ORDER BY (stream, incarnation, src_partition, src_offset)
TTL toDateTime(received) + INTERVAL 2160 HOUR;
CREATE TABLE IF NOT EXISTS weir.audit ON CLUSTER 'abuse' AS weir.audit_local ENGINE = Distributed('abuse', 'weir', 'audit_local', cityHash64(stream, incarnation, src_partition));
ALTER TABLE weir.labels_local ON CLUSTER 'abuse'
    ADD COLUMN IF NOT EXISTS incarnation UInt32 CODEC(ZSTD(1)) AFTER stream,
    ADD COLUMN IF NOT EXISTS src_partition UInt32 CODEC(ZSTD(1)) AFTER incarnation,
    ADD COLUMN IF NOT EXISTS src_offset UInt64 CODEC(Delta, ZSTD(1)) AFTER src_partition,
    ADD COLUMN IF NOT EXISTS owner UInt64 CODEC(ZSTD(1)) AFTER src_offset,
    ADD COLUMN IF NOT EXISTS received DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) AFTER owner,
    ADD COLUMN IF NOT EXISTS id String CODEC(ZSTD(1)) AFTER received,
    ADD COLUMN IF NOT EXISTS time DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) AFTER id,
    ADD COLUMN IF NOT EXISTS tenant String CODEC(ZSTD(1)) AFTER time,
    ADD COLUMN IF NOT EXISTS entity_kind String CODEC(ZSTD(1)) AFTER tenant,
    ADD COLUMN IF NOT EXISTS entity String CODEC(ZSTD(1)) AFTER entity_kind,
    ADD COLUMN IF NOT EXISTS rule String CODEC(ZSTD(1)) AFTER entity,
    ADD COLUMN IF NOT EXISTS who String CODEC(ZSTD(1)) AFTER rule,
    ADD COLUMN IF NOT EXISTS reason String CODEC(ZSTD(1)) AFTER who,
    ADD COLUMN IF NOT EXISTS expires DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) AFTER reason,
    ADD COLUMN IF NOT EXISTS label String CODEC(ZSTD(1)) AFTER expires;
ALTER TABLE weir.labels ON CLUSTER 'abuse'
    ADD COLUMN IF NOT EXISTS incarnation UInt32 CODEC(ZSTD(1)) AFTER stream,
    ADD COLUMN IF NOT EXISTS src_partition UInt32 CODEC(ZSTD(1)) AFTER incarnation,
    ADD COLUMN IF NOT EXISTS src_offset UInt64 CODEC(Delta, ZSTD(1)) AFTER src_partition,
    ADD COLUMN IF NOT EXISTS owner UInt64 CODEC(ZSTD(1)) AFTER src_offset,
    ADD COLUMN IF NOT EXISTS received DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) AFTER owner,
    ADD COLUMN IF NOT EXISTS id String CODEC(ZSTD(1)) AFTER received,
    ADD COLUMN IF NOT EXISTS time DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) AFTER id,
    ADD COLUMN IF NOT EXISTS tenant String CODEC(ZSTD(1)) AFTER time,
    ADD COLUMN IF NOT EXISTS entity_kind String CODEC(ZSTD(1)) AFTER tenant,
    ADD COLUMN IF NOT EXISTS entity String CODEC(ZSTD(1)) AFTER entity_kind,
    ADD COLUMN IF NOT EXISTS rule String CODEC(ZSTD(1)) AFTER entity,
    ADD COLUMN IF NOT EXISTS who String CODEC(ZSTD(1)) AFTER rule,
    ADD COLUMN IF NOT EXISTS reason String CODEC(ZSTD(1)) AFTER who,
    ADD COLUMN IF NOT EXISTS expires DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) AFTER reason,
    ADD COLUMN IF NOT EXISTS label String CODEC(ZSTD(1)) AFTER expires;
ALTER TABLE weir.audit_local ON CLUSTER 'abuse'
    ADD COLUMN IF NOT EXISTS incarnation UInt32 CODEC(ZSTD(1)) AFTER stream,
    ADD COLUMN IF NOT EXISTS src_partition UInt32 CODEC(ZSTD(1)) AFTER incarnation,
    ADD COLUMN IF NOT EXISTS src_offset UInt64 CODEC(Delta, ZSTD(1)) AFTER src_partition,
    ADD COLUMN IF NOT EXISTS owner UInt64 CODEC(ZSTD(1)) AFTER src_offset,
    ADD COLUMN IF NOT EXISTS received DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) AFTER owner,
    ADD COLUMN IF NOT EXISTS id String CODEC(ZSTD(1)) AFTER received,
    ADD COLUMN IF NOT EXISTS time DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) AFTER id,
    ADD COLUMN IF NOT EXISTS tenant String CODEC(ZSTD(1)) AFTER time,
    ADD COLUMN IF NOT EXISTS entity_kind String CODEC(ZSTD(1)) AFTER tenant,
    ADD COLUMN IF NOT EXISTS entity String CODEC(ZSTD(1)) AFTER entity_kind,
    ADD COLUMN IF NOT EXISTS rule String CODEC(ZSTD(1)) AFTER entity,
    ADD COLUMN IF NOT EXISTS who String CODEC(ZSTD(1)) AFTER rule,
    ADD COLUMN IF NOT EXISTS reason String CODEC(ZSTD(1)) AFTER who,
    ADD COLUMN IF NOT EXISTS expires DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) AFTER reason,
    ADD COLUMN IF NOT EXISTS action String CODEC(ZSTD(1)) AFTER expires,
    ADD COLUMN IF NOT EXISTS category String CODEC(ZSTD(1)) AFTER action,
    ADD COLUMN IF NOT EXISTS entity_digest String CODEC(ZSTD(1)) AFTER category,
    ADD COLUMN IF NOT EXISTS origin String CODEC(ZSTD(1)) AFTER entity_digest,
    ADD COLUMN IF NOT EXISTS gate_action String CODEC(ZSTD(1)) AFTER origin;
ALTER TABLE weir.audit ON CLUSTER 'abuse'
    ADD COLUMN IF NOT EXISTS incarnation UInt32 CODEC(ZSTD(1)) AFTER stream,
    ADD COLUMN IF NOT EXISTS src_partition UInt32 CODEC(ZSTD(1)) AFTER incarnation,
    ADD COLUMN IF NOT EXISTS src_offset UInt64 CODEC(Delta, ZSTD(1)) AFTER src_partition,
    ADD COLUMN IF NOT EXISTS owner UInt64 CODEC(ZSTD(1)) AFTER src_offset,
    ADD COLUMN IF NOT EXISTS received DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) AFTER owner,
    ADD COLUMN IF NOT EXISTS id String CODEC(ZSTD(1)) AFTER received,
    ADD COLUMN IF NOT EXISTS time DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) AFTER id,
    ADD COLUMN IF NOT EXISTS tenant String CODEC(ZSTD(1)) AFTER time,
    ADD COLUMN IF NOT EXISTS entity_kind String CODEC(ZSTD(1)) AFTER tenant,
    ADD COLUMN IF NOT EXISTS entity String CODEC(ZSTD(1)) AFTER entity_kind,
    ADD COLUMN IF NOT EXISTS rule String CODEC(ZSTD(1)) AFTER entity,
    ADD COLUMN IF NOT EXISTS who String CODEC(ZSTD(1)) AFTER rule,
    ADD COLUMN IF NOT EXISTS reason String CODEC(ZSTD(1)) AFTER who,
    ADD COLUMN IF NOT EXISTS expires DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)) AFTER reason,
    ADD COLUMN IF NOT EXISTS action String CODEC(ZSTD(1)) AFTER expires,
    ADD COLUMN IF NOT EXISTS category String CODEC(ZSTD(1)) AFTER action,
    ADD COLUMN IF NOT EXISTS entity_digest String CODEC(ZSTD(1)) AFTER category,
    ADD COLUMN IF NOT EXISTS origin String CODEC(ZSTD(1)) AFTER entity_digest,
    ADD COLUMN IF NOT EXISTS gate_action String CODEC(ZSTD(1)) AFTER origin;
CREATE TABLE IF NOT EXISTS weir.entity_events_local ON CLUSTER 'abuse'
(
    entity_kind LowCardinality(String) CODEC(ZSTD(1)),
    entity String CODEC(ZSTD(1)),
    stream LowCardinality(String) CODEC(ZSTD(1)),
    incarnation UInt32 CODEC(ZSTD(1)),
    src_partition UInt32 CODEC(ZSTD(1)),
    src_offset UInt64 CODEC(Delta, ZSTD(1)),
    owner UInt64 CODEC(ZSTD(1)),
    day Date CODEC(ZSTD(1)),
    time DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    tenant LowCardinality(String) CODEC(ZSTD(1)),
    account String CODEC(ZSTD(1)),
    device String CODEC(ZSTD(1)),
    client_ip String CODEC(ZSTD(1)),
    method LowCardinality(String) CODEC(ZSTD(1)),
    route LowCardinality(String) CODEC(ZSTD(1)),
    object_type LowCardinality(String) CODEC(ZSTD(1)),
    object String CODEC(ZSTD(1)),
    status UInt16 CODEC(ZSTD(1)),
    auth LowCardinality(String) CODEC(ZSTD(1)),
    signature LowCardinality(String) CODEC(ZSTD(1)),
    decision_action LowCardinality(String) CODEC(ZSTD(1)),
    country LowCardinality(String) CODEC(ZSTD(1)),
    city LowCardinality(String) CODEC(ZSTD(1)),
    asn UInt32 CODEC(ZSTD(1)),
    anonymiser LowCardinality(String) CODEC(ZSTD(1)),
    build LowCardinality(String) CODEC(ZSTD(1)),
    late UInt8 CODEC(ZSTD(1))
)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/weir/entity_events_local', '{replica}', owner)
PARTITION BY (stream, incarnation, intDiv(src_offset, 33554432))
ORDER BY (entity_kind, entity, stream, incarnation, src_partition, src_offset)
TTL toDateTime(day) + INTERVAL 2184 HOUR
SETTINGS index_granularity = 512, min_compress_block_size = 16384;
CREATE TABLE IF NOT EXISTS weir.entity_events ON CLUSTER 'abuse' AS weir.entity_events_local ENGINE = Distributed('abuse', 'weir', 'entity_events_local');
CREATE MATERIALIZED VIEW IF NOT EXISTS weir.feed_entity_events ON CLUSTER 'abuse' TO weir.entity_events_local AS
SELECT named.1 AS entity_kind, named.2 AS entity, stream, incarnation, src_partition, src_offset, owner, toDate(received) AS day, time, tenant,
    account, device, client_ip, method, route, object_type, object, toUInt16(status) AS status, auth, signature, decision_action,
    country, city, toUInt32(asn) AS asn, anonymiser, build, delayed AS late
FROM weir.events_local
ARRAY JOIN arrayFilter(e -> e.2 != '', [('account', account), ('device', device), ('ip', client_ip)]) AS named;
CREATE TABLE IF NOT EXISTS weir.event_ids_local ON CLUSTER 'abuse'
(
    id_hash UInt32 CODEC(Delta, ZSTD(1)),
    stream LowCardinality(String) CODEC(ZSTD(1)),
    incarnation UInt32 CODEC(ZSTD(1)),
    src_partition UInt32 CODEC(ZSTD(1)),
    src_offset UInt64 CODEC(T64, ZSTD(1)),
    day Date CODEC(ZSTD(1))
)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/weir/event_ids_local', '{replica}')
PARTITION BY (stream, incarnation, intDiv(src_offset, 33554432))
ORDER BY (id_hash, stream, incarnation, src_partition, src_offset)
TTL toDateTime(day) + INTERVAL 2184 HOUR
SETTINGS index_granularity = 512, min_compress_block_size = 16384;
CREATE TABLE IF NOT EXISTS weir.event_ids ON CLUSTER 'abuse' AS weir.event_ids_local ENGINE = Distributed('abuse', 'weir', 'event_ids_local');
CREATE MATERIALIZED VIEW IF NOT EXISTS weir.feed_event_ids ON CLUSTER 'abuse' TO weir.event_ids_local AS
SELECT arrayJoin(arrayDistinct(arrayMap(v -> toUInt32(cityHash64(v)), arrayFilter(v -> v != '', [id, request_id, trace_id, decision, session, token, token_family, key_id])))) AS id_hash,
    stream, incarnation, src_partition, src_offset, toDate(received) AS day
FROM weir.events_local;
CREATE TABLE IF NOT EXISTS weir.decision_ids_local ON CLUSTER 'abuse'
(
    id_hash UInt32 CODEC(Delta, ZSTD(1)),
    stream LowCardinality(String) CODEC(ZSTD(1)),
    incarnation UInt32 CODEC(ZSTD(1)),
    time DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    src_partition UInt32 CODEC(ZSTD(1)),
    src_offset UInt64 CODEC(T64, ZSTD(1)),
    day Date CODEC(ZSTD(1))
)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/weir/decision_ids_local', '{replica}')
PARTITION BY (stream, incarnation, intDiv(src_offset, 33554432))
ORDER BY (id_hash, stream, incarnation, time, src_partition, src_offset)
TTL toDateTime(day) + INTERVAL 2184 HOUR
SETTINGS index_granularity = 512, min_compress_block_size = 16384;
CREATE TABLE IF NOT EXISTS weir.decision_ids ON CLUSTER 'abuse' AS weir.decision_ids_local ENGINE = Distributed('abuse', 'weir', 'decision_ids_local');
CREATE MATERIALIZED VIEW IF NOT EXISTS weir.feed_decision_ids ON CLUSTER 'abuse' TO weir.decision_ids_local AS
SELECT arrayJoin(arrayDistinct(arrayMap(v -> toUInt32(cityHash64(v)), arrayFilter(v -> v != '', arrayConcat([id, request_id, trace_id], mapValues(entities)))))) AS id_hash,
    stream, incarnation, time, src_partition, src_offset, toDate(received) AS day
FROM weir.decisions_local;
CREATE TABLE IF NOT EXISTS weir.named_signals_local ON CLUSTER 'abuse'
(
    found_by LowCardinality(String) CODEC(ZSTD(1)),
    name_kind LowCardinality(String) CODEC(ZSTD(1)),
    name String CODEC(ZSTD(1)),
    stream String CODEC(ZSTD(1)),
    incarnation UInt32 CODEC(ZSTD(1)),
    facet_partition UInt32 CODEC(ZSTD(1)),
    facet_offset UInt64 CODEC(Delta, ZSTD(1)),
    facet_index UInt32 CODEC(ZSTD(1)),
    rule String CODEC(ZSTD(1)),
    rules_version LowCardinality(String) CODEC(ZSTD(1)),
    tenant LowCardinality(String) CODEC(ZSTD(1)),
    entity_kind LowCardinality(String) CODEC(ZSTD(1)),
    entity String CODEC(ZSTD(1)),
    group_kind LowCardinality(String) CODEC(ZSTD(1)),
    group_key String CODEC(ZSTD(1)),
    category LowCardinality(String) CODEC(ZSTD(1)),
    reason LowCardinality(String) CODEC(ZSTD(1)),
    phase LowCardinality(String) CODEC(ZSTD(1)),
    tier UInt8,
    weight UInt8,
    half_life_s UInt32 CODEC(ZSTD(1)),
    lowers UInt8,
    clears UInt8,
    asks LowCardinality(String) CODEC(ZSTD(1)),
    evidence String CODEC(ZSTD(1)),
    time DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    src_partition UInt32 CODEC(ZSTD(1)),
    src_offset UInt64 CODEC(Delta, ZSTD(1)),
    late UInt8,
    received DateTime64(3, 'UTC') CODEC(Delta, ZSTD(1)),
    day Date CODEC(ZSTD(1)),
    INDEX by_time time TYPE minmax GRANULARITY 1
)
ENGINE = ReplicatedReplacingMergeTree('/clickhouse/tables/{shard}/weir/named_signals_local', '{replica}')
PARTITION BY (stream, incarnation, intDiv(facet_offset, 33554432))
ORDER BY (found_by, name_kind, name, stream, incarnation, facet_partition, facet_offset, facet_index, rule)
TTL toDateTime(day) + INTERVAL 2184 HOUR
SETTINGS index_granularity = 512, min_compress_block_size = 16384;
CREATE TABLE IF NOT EXISTS weir.named_signals ON CLUSTER 'abuse' AS weir.named_signals_local ENGINE = Distributed('abuse', 'weir', 'named_signals_local');
CREATE MATERIALIZED VIEW IF NOT EXISTS weir.feed_named_signals ON CLUSTER 'abuse' TO weir.named_signals_local AS
SELECT named.1 AS found_by, named.2 AS name_kind, named.3 AS name, stream, incarnation, facet_partition, facet_offset, facet_index, rule, rules_version, tenant, entity_kind, entity, group_kind, group_key, category, reason, phase, tier, weight, half_life_s, lowers, clears, asks, evidence, time, src_partition, src_offset, late, received, toDate(received) AS day
FROM weir.signals_local
ARRAY JOIN arrayFilter(e -> e.3 != '', [('rule', '', rule), ('entity', entity_kind, entity), ('group', group_kind, group_key)]) AS named;
CREATE OR REPLACE VIEW weir.v_superseded ON CLUSTER 'abuse' AS
WITH
    lines AS
    (
        SELECT stream, incarnation, src_partition, src_offset, received, sipHash64(time, method, path, status, response_bytes) AS print
        FROM weir.events
        WHERE startsWith(stream, 'history-')
    ),
    runs AS
    (
        SELECT stream, incarnation, max(src_offset) AS last, max(received) AS read,
            (min(src_offset), argMin(print, src_offset)) AS head,
            arrayDistinct(groupArraySorted(8)((-toInt64(src_offset), print))) AS ends,
            arrayElement(ends, least(2, length(ends))) AS end
        FROM lines
        GROUP BY stream, incarnation
        HAVING max(src_partition) = 0
    ),
    probes AS
    (
        SELECT stream, incarnation, arrayDistinct([head, (toUInt64(-end.1), end.2)]) AS all, length(all) AS want, arrayJoin(all) AS probe,
            probe.1 AS src_offset, probe.2 AS print
        FROM runs
    ),
    found AS
    (
        SELECT p.stream AS stream, p.incarnation AS incarnation, l.stream AS by_stream, l.incarnation AS by_incarnation
        FROM lines AS l
        INNER JOIN probes AS p ON l.src_offset = p.src_offset AND l.print = p.print
        WHERE l.src_partition = 0 AND (l.stream, l.incarnation) != (p.stream, p.incarnation)
        GROUP BY stream, incarnation, by_stream, by_incarnation
        HAVING uniqExact(p.src_offset) = any(p.want)
    )
SELECT f.stream AS stream, f.incarnation AS incarnation, f.by_stream AS by_stream, f.by_incarnation AS by_incarnation
FROM found AS f
INNER JOIN runs AS old ON old.stream = f.stream AND old.incarnation = f.incarnation
INNER JOIN runs AS new ON new.stream = f.by_stream AND new.incarnation = f.by_incarnation
WHERE (new.last, new.read, new.stream, new.incarnation) > (old.last, old.read, old.stream, old.incarnation);
CREATE OR REPLACE VIEW weir.v_events ON CLUSTER 'abuse' AS
SELECT * FROM weir.events FINAL
WHERE (stream, incarnation) NOT IN arrayPushBack((SELECT groupUniqArray((stream, incarnation)) FROM weir.superseded_streams), ('', 0));
CREATE OR REPLACE VIEW weir.v_signals ON CLUSTER 'abuse' AS
SELECT * FROM weir.signals FINAL
WHERE (stream, incarnation) NOT IN arrayPushBack((SELECT groupUniqArray((stream, incarnation)) FROM weir.superseded_streams), ('', 0));
CREATE OR REPLACE VIEW weir.v_shadow_signals ON CLUSTER 'abuse' AS
SELECT * FROM weir.shadow_signals FINAL
WHERE (stream, incarnation) NOT IN arrayPushBack((SELECT groupUniqArray((stream, incarnation)) FROM weir.superseded_streams), ('', 0));
CREATE OR REPLACE VIEW weir.v_decisions ON CLUSTER 'abuse' AS
SELECT * FROM weir.decisions FINAL
WHERE (stream, incarnation) NOT IN arrayPushBack((SELECT groupUniqArray((stream, incarnation)) FROM weir.superseded_streams), ('', 0));
CREATE OR REPLACE VIEW weir.v_labels ON CLUSTER 'abuse' AS
SELECT * FROM weir.labels FINAL
WHERE (stream, incarnation) NOT IN arrayPushBack((SELECT groupUniqArray((stream, incarnation)) FROM weir.superseded_streams), ('', 0));
CREATE OR REPLACE VIEW weir.v_audit ON CLUSTER 'abuse' AS
SELECT * FROM weir.audit FINAL
WHERE (stream, incarnation) NOT IN arrayPushBack((SELECT groupUniqArray((stream, incarnation)) FROM weir.superseded_streams), ('', 0));
CREATE OR REPLACE VIEW weir.v_dead_letters ON CLUSTER 'abuse' AS
SELECT * FROM weir.dead_letters FINAL
WHERE (stream, incarnation) NOT IN arrayPushBack((SELECT groupUniqArray((stream, incarnation)) FROM weir.superseded_streams), ('', 0));
CREATE OR REPLACE VIEW weir.v_rule_versions ON CLUSTER 'abuse' AS
SELECT * FROM weir.rule_versions FINAL
WHERE (stream, incarnation) NOT IN arrayPushBack((SELECT groupUniqArray((stream, incarnation)) FROM weir.superseded_streams), ('', 0));
CREATE OR REPLACE VIEW weir.v_entity_events ON CLUSTER 'abuse' AS
SELECT entity_kind, entity, tenant, time, account, device, client_ip, method, route, object_type, object, status, auth, signature, decision_action,
    country, city, asn, anonymiser, build, late, stream, incarnation, src_partition, src_offset
FROM weir.entity_events FINAL
WHERE (stream, incarnation) NOT IN arrayPushBack((SELECT groupUniqArray((stream, incarnation)) FROM weir.superseded_streams), ('', 0))
SETTINGS optimize_move_to_prewhere_if_final = 1, split_intersecting_parts_ranges_into_layers_final = 0;
CREATE OR REPLACE VIEW weir.v_named_signals ON CLUSTER 'abuse' AS
SELECT * EXCEPT (day) FROM weir.named_signals FINAL
WHERE (stream, incarnation) NOT IN arrayPushBack((SELECT groupUniqArray((stream, incarnation)) FROM weir.superseded_streams), ('', 0))
SETTINGS optimize_move_to_prewhere_if_final = 1;
CREATE OR REPLACE VIEW weir.v_event_minutes ON CLUSTER 'abuse' AS
SELECT minute, tenant, route, method, status, auth, decision_action, events, latency_us, bytes, stream, incarnation
FROM weir.event_minutes FINAL
ARRAY JOIN tenants AS tenant, routes AS route, methods AS method, statuses AS status, auths AS auth, actions AS decision_action, events AS events,
    latencies_us AS latency_us, bytes AS bytes
WHERE (stream, incarnation) NOT IN arrayPushBack((SELECT groupUniqArray((stream, incarnation)) FROM weir.superseded_streams), ('', 0))
SETTINGS optimize_move_to_prewhere_if_final = 1;
CREATE OR REPLACE VIEW weir.v_entity_minutes ON CLUSTER 'abuse' AS
SELECT entity_kind, minute, tenant, entity, events, failures, errors, refused, stream, incarnation
FROM weir.entity_minutes FINAL
ARRAY JOIN tenants AS tenant, entities AS entity, events AS events, failures AS failures, errors AS errors, refused AS refused
WHERE (stream, incarnation) NOT IN arrayPushBack((SELECT groupUniqArray((stream, incarnation)) FROM weir.superseded_streams), ('', 0))
SETTINGS optimize_move_to_prewhere_if_final = 1;
CREATE OR REPLACE VIEW weir.v_events_by_id ON CLUSTER 'abuse' AS
SELECT * FROM weir.events FINAL
WHERE (stream, incarnation, src_partition, src_offset) IN
    (SELECT stream, incarnation, src_partition, src_offset FROM weir.event_ids_local WHERE id_hash = toUInt32(cityHash64({id:String})) AND (stream, incarnation) NOT IN arrayPushBack((SELECT groupUniqArray((stream, incarnation)) FROM weir.superseded_streams), ('', 0)))
    AND {id:String} IN (id, request_id, trace_id, decision, session, token, token_family, key_id)
SETTINGS optimize_move_to_prewhere_if_final = 1;
CREATE OR REPLACE VIEW weir.v_decisions_by_id ON CLUSTER 'abuse' AS
SELECT * FROM weir.decisions FINAL
WHERE (stream, incarnation, time) IN
    (SELECT stream, incarnation, time FROM weir.decision_ids_local WHERE id_hash = toUInt32(cityHash64({id:String})) AND (stream, incarnation) NOT IN arrayPushBack((SELECT groupUniqArray((stream, incarnation)) FROM weir.superseded_streams), ('', 0)))
    AND has(arrayConcat([id, request_id, trace_id], mapValues(entities)), {id:String})
SETTINGS optimize_move_to_prewhere_if_final = 1;
