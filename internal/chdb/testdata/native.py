"""A foreign native client against the server: python native.py HOST PORT COMPRESSION"""
import datetime
import sys

from clickhouse_driver import Client, errors

host, port, compression = sys.argv[1], int(sys.argv[2]), sys.argv[3] or False
client = Client(host, port=port, compression=compression, send_receive_timeout=20)
table = "native_" + (compression or "plain")
client.execute(f"CREATE TABLE {table} (n UInt64, s String, at DateTime64(3, 'UTC'), a Array(String), m Nullable(Int32)) ENGINE = MergeTree ORDER BY n")
at = datetime.datetime(2026, 1, 2, 3, 4, 5, 678000, tzinfo=datetime.timezone.utc)
rows = [(n, f"row {n}", at, ["x", "y"], None if n % 2 else n) for n in range(1000)]
assert client.execute(f"INSERT INTO {table} (n, s, at, a, m) VALUES", rows, ) == 1000
assert client.execute(f"INSERT INTO {table} (n) VALUES", [(n,) for n in range(1000, 1010)]) == 10
# Several blocks in one insert, each answered.
small = Client(host, port=port, compression=compression, send_receive_timeout=20, settings={"insert_block_size": 7})
assert small.execute(f"INSERT INTO {table} (n, s) VALUES", [(n, "b") for n in range(1010, 1100)]) == 90
got = client.execute(f"SELECT n, s, at, a, m FROM {table} WHERE n < 1000 ORDER BY n")
assert [(n, s, t.replace(tzinfo=datetime.timezone.utc), a, m) for n, s, t, a, m in got] == rows, got[:3]
assert client.execute(f"SELECT count() FROM {table}") == [(1100,)]
assert client.execute("SELECT %(x)s", {"x": "it's"}) == [("it's",)]
try:
    client.execute("INSERT INTO nowhere (n) VALUES", [(1,)])
    raise AssertionError("an insert into an unknown table")
except errors.ServerException as e:
    assert e.code == 60, e
assert client.execute("SELECT 1") == [(1,)], "after an error"
print("ok")
