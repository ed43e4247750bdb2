-- Users of ClickHouse for Weir, each with what it needs and no more. An administrator
-- runs this, before the first `weir migrate` and after each upgrade:
--
--   hash() { printf %s "$1" | sha256sum | cut -d' ' -f1; }
--   clickhouse-client --user ADMIN --password --queries-file users.sql \
--     --param_migrator_hash="$(hash "$MIGRATOR")" --param_writer_hash="$(hash "$WRITER")" \
--     --param_reader_hash="$(hash "$READER")" --param_analyst_hash="$(hash "$ANALYST")" \
--     --param_eraser_hash="$(hash "$ERASER")"
--
-- It may be run again; passwords are then those of the last time. On a cluster, add
-- ON CLUSTER to each statement, or keep users in ClickHouse Keeper, and
-- GRANT CLUSTER ON *.* TO weir_migrator, weir_eraser. The database is weir
-- (clickhouse.database).

-- `weir migrate` makes database, tables and views, and adds columns.
CREATE ROLE IF NOT EXISTS weir_migrator;
GRANT CREATE DATABASE, CREATE TABLE, CREATE VIEW, DROP VIEW, ALTER, SELECT, INSERT, SHOW ON weir.* TO weir_migrator;
GRANT SELECT ON system.* TO weir_migrator;

-- Workers insert rows, and read which version the tables have.
CREATE ROLE IF NOT EXISTS weir_writer;
GRANT SELECT, INSERT ON weir.* TO weir_writer;

-- People with `weir erase`: it deletes rows about a subject, and its name in others.
CREATE ROLE IF NOT EXISTS weir_eraser;
GRANT SELECT, INSERT, ALTER DELETE, ALTER UPDATE ON weir.* TO weir_eraser;

-- Grafana reads. Its plugin sets max_execution_time with each query, which nobody may
-- do in mode 1 unless it is allowed here.
CREATE ROLE IF NOT EXISTS weir_reader;
GRANT SELECT, SHOW ON weir.* TO weir_reader;
CREATE SETTINGS PROFILE OR REPLACE weir_reader SETTINGS
    readonly = 1,
    max_execution_time = 30 MIN 1 MAX 60 CHANGEABLE_IN_READONLY,
    max_memory_usage = 4000000000,
    max_result_rows = 1000000,
    max_threads = 4
    TO weir_reader;

-- People with `weir query` and clients of their own. Mode 2 lets a query have settings;
-- those that protect the server stay.
CREATE ROLE IF NOT EXISTS weir_analyst;
GRANT SELECT, SHOW ON weir.* TO weir_analyst;
GRANT SELECT ON system.parts TO weir_analyst;
CREATE SETTINGS PROFILE OR REPLACE weir_analyst SETTINGS
    readonly = 2,
    max_execution_time = 120 MIN 1 MAX 600,
    max_memory_usage = 8000000000 MAX 8000000000,
    max_threads = 8 MAX 8
    TO weir_analyst;

-- So that nobody's dashboard starves inserts.
CREATE QUOTA OR REPLACE weir_readers KEYED BY user_name
    FOR INTERVAL 1 minute MAX queries = 1200, execution_time = 240
    TO weir_reader, weir_analyst;

CREATE USER OR REPLACE weir_migrator IDENTIFIED WITH sha256_hash BY {migrator_hash:String} DEFAULT ROLE weir_migrator;
CREATE USER OR REPLACE weir_writer IDENTIFIED WITH sha256_hash BY {writer_hash:String} DEFAULT ROLE weir_writer;
CREATE USER OR REPLACE weir_eraser IDENTIFIED WITH sha256_hash BY {eraser_hash:String} DEFAULT ROLE weir_eraser;
CREATE USER OR REPLACE weir_reader IDENTIFIED WITH sha256_hash BY {reader_hash:String} DEFAULT ROLE weir_reader;
CREATE USER OR REPLACE weir_analyst IDENTIFIED WITH sha256_hash BY {analyst_hash:String} DEFAULT ROLE weir_analyst;
GRANT weir_migrator TO weir_migrator;
GRANT weir_writer TO weir_writer;
GRANT weir_eraser TO weir_eraser;
GRANT weir_reader TO weir_reader;
GRANT weir_analyst TO weir_analyst;
