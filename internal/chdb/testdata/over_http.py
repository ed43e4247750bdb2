"""A foreign client of the HTTP interface: python over_http.py HOST PORT"""
import datetime
import sys

import clickhouse_connect
from clickhouse_connect.driver.exceptions import DatabaseError

client = clickhouse_connect.get_client(host=sys.argv[1], port=int(sys.argv[2]))
client.command("CREATE TABLE connected (n UInt64, s String, at DateTime64(3)) ENGINE = MergeTree ORDER BY n")
at = datetime.datetime(2026, 1, 2, 3, 4, 5, 678000)
client.insert("connected", [[1, "a", at], [2, "b", at]], column_names=["n", "s", "at"])
assert client.query("SELECT * FROM connected ORDER BY n").result_rows == [(1, "a", at), (2, "b", at)]
assert client.query("SELECT n FROM connected WHERE s = %(s)s", parameters={"s": "b"}).result_rows == [(2,)]
assert client.query("SELECT n FROM connected WHERE s = {s:String}", parameters={"s": "b"}).result_rows == [(2,)]
empty = client.query("SELECT n, s FROM connected WHERE n > 9")
assert empty.result_rows == [] and tuple(empty.column_names) == ("n", "s"), (empty.result_rows, empty.column_names)
try:
    client.query("SELECT * FROM nowhere")
    raise AssertionError("an unknown table")
except DatabaseError as e:
    assert "UNKNOWN_TABLE" in str(e), e
print("ok")
