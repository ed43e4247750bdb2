package dashboards_test

import (
	"os"
	"testing"

	weir "github.com/weirdev/weir/dashboards"
	"github.com/weirdev/weir/proof/dashboards"
)

const root = "../.."

func read(t *testing.T) []dashboards.Dashboard {
	t.Helper()
	all, err := dashboards.Read(weir.Files())
	if err != nil || len(all) == 0 {
		t.Fatalf("%d dashboards: %v", len(all), err)
	}
	return all
}

func TestDashboardsAreAsTheyMustBe(t *testing.T) {
	for _, f := range dashboards.Lint(read(t), os.DirFS(root)) {
		t.Error(f)
	}
}
