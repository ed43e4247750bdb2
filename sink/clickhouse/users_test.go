package clickhouse_test

import (
	"os"
	"regexp"
	"strings"
	"testing"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
)

var (
	sqlComment   = regexp.MustCompile(`(?m)--.*$`)
	sqlParameter = regexp.MustCompile(`\{\w+:String\}`)
	grantOn      = regexp.MustCompile(`^GRANT (.+) ON (\S+) TO (\w+)$`)
	profileOf    = regexp.MustCompile(`(?s)^CREATE SETTINGS PROFILE OR REPLACE (\w+) SETTINGS\s+(.*?)\s+TO (\w+)$`)
)

// usersSQL returns the statements of deploy/clickhouse/users.sql.
func usersSQL(t *testing.T) (all []string) {
	t.Helper()
	text, err := os.ReadFile("../../deploy/clickhouse/users.sql")
	if err != nil {
		t.Fatal(err)
	}
	for s := range strings.SplitSeq(sqlComment.ReplaceAllString(string(text), ""), ";") {
		if s = strings.TrimSpace(s); s != "" {
			all = append(all, s)
		}
	}
	if len(all) < 15 {
		t.Fatalf("only %d statements were found", len(all))
	}
	return all
}

// TestUsersAndGrantsAreOnesThatClickHouseKnows. The embedded engine has no users of
// its own to make, so it reads the statements, and knows their privileges and
// settings.
func TestUsersAndGrantsAreOnesThatClickHouseKnows(t *testing.T) {
	conn := connect(t, config(t, start(t, "127.0.0.1:0").addr))
	parses := func(statement string) error {
		rows, err := conn.Query(t.Context(), "EXPLAIN AST "+sqlParameter.ReplaceAllString(statement, "'"+strings.Repeat("0", 64)+"'"))
		if err == nil {
			err = rows.Close()
		}
		return err
	}
	if parses("CREATE ROLE weir TO nobody ON") == nil {
		t.Error("the engine reads anything")
	}
	exists := func(table, column, value string) bool {
		var n uint64
		if err := conn.QueryRow(t.Context(), "SELECT count() FROM system."+table+" WHERE "+column+" = ?", value).Scan(&n); err != nil {
			t.Fatal(err)
		}
		return n > 0
	}
	grants, settings := map[string]string{}, map[string]string{}
	for _, s := range usersSQL(t) {
		if err := parses(s); err != nil {
			t.Errorf("%v in\n%s", err, s)
		}
		if m := grantOn.FindStringSubmatch(s); m != nil {
			for p := range strings.SplitSeq(m[1], ", ") {
				if !exists("privileges", "privilege", p) {
					t.Errorf("there is no privilege %s", p)
				}
			}
			grants[m[3]] += m[1] + " ON " + m[2] + "\n"
		}
		if m := profileOf.FindStringSubmatch(s); m != nil {
			settings[m[3]] = m[2]
			for setting := range strings.SplitSeq(m[2], ",") {
				if name, _, _ := strings.Cut(strings.TrimSpace(setting), " "); !exists("settings", "name", name) {
					t.Errorf("there is no setting %s", name)
				}
			}
		}
	}
	for _, role := range []string{"weir_reader", "weir_analyst"} {
		if regexp.MustCompile("INSERT|ALTER|CREATE|DROP|DELETE").MatchString(grants[role]) || !strings.Contains(grants[role], "SELECT") {
			t.Errorf("%s may\n%s", role, grants[role])
		}
		for _, limit := range []string{"readonly = ", "max_execution_time = ", "max_memory_usage = "} {
			if !strings.Contains(settings[role], limit) {
				t.Errorf("%s has no limit %s", role, limit)
			}
		}
	}
	if !regexp.MustCompile(`readonly = 1,\s+max_execution_time = \d+ MIN \d+ MAX \d+ CHANGEABLE_IN_READONLY`).MatchString(settings["weir_reader"]) {
		t.Errorf("Grafana's plugin cannot set max_execution_time:\n%s", settings["weir_reader"])
	}
	if grants["weir_writer"] != "SELECT, INSERT ON weir.*\n" {
		t.Errorf("a worker may\n%s", grants["weir_writer"])
	}
	limitsHold(t, conn, settings["weir_reader"])
}

// limitsHold runs a query and an insert under a profile's settings.
func limitsHold(t *testing.T, conn driver.Conn, profile string) {
	t.Helper()
	var under []string
	for setting := range strings.SplitSeq(profile, ",") {
		words := strings.Fields(setting)
		under = append(under, strings.Join(words[:3], " "))
	}
	with := " SETTINGS " + strings.Join(under, ", ")
	var one uint8
	if err := conn.QueryRow(t.Context(), "SELECT 1"+with).Scan(&one); err != nil {
		t.Errorf("a query%s: %v", with, err)
	}
	if err := conn.Exec(t.Context(), "CREATE TABLE default.by_a_reader ENGINE = Memory AS SELECT 1"+with); err == nil {
		t.Errorf("a reader may make tables")
	}
}
