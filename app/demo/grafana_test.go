package demo

import (
	"bytes"
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/weirdev/weir/app"
	"github.com/weirdev/weir/app/stack"
)

// fake makes a program that writes down how it was started, and then waits.
func fake(t *testing.T, path, told string) string {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	text := fmt.Sprintf("#!/bin/sh\nprintf '%%s\\n' \"$@\" >%[1]s.args\nenv | grep ^GF_ >%[1]s.env\necho it says something\nmv %[1]s.args %[1]s.ready\nexec sleep 600\n", told)
	if err := os.WriteFile(path, []byte(text), 0o700); err != nil {
		t.Fatal(err)
	}
	return path
}

// awaitFile waits until a file is there, and returns its lines.
func awaitFile(t *testing.T, path string) []string {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for until := time.Now().Add(10 * time.Second); ; <-tick.C {
		if text, err := os.ReadFile(path); err == nil {
			return strings.Fields(string(text))
		} else if time.Now().After(until) {
			t.Fatal(err)
		}
	}
}

// TestGrafanaIsStartedWithTheDashboards starts programs that write down what they got:
// there is no Grafana on machines that test.
func TestGrafanaIsStartedWithTheDashboards(t *testing.T) {
	dir, tools := t.TempDir(), t.TempDir()
	program := fake(t, filepath.Join(tools, "grafana-13", "bin", "grafana"), filepath.Join(tools, "grafana"))
	fake(t, filepath.Join(tools, "prometheus"), filepath.Join(tools, "prometheus-told"))
	t.Setenv("PATH", tools+string(os.PathListSeparator)+os.Getenv("PATH"))
	home := filepath.Join(tools, "grafana-13")
	if err := os.MkdirAll(filepath.Join(home, "conf"), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(home, "conf", "defaults.ini"), nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var out bytes.Buffer
	d := &demo{opts: Defaults(), out: &out, stack: &stack.Stack{Dir: dir, Config: app.Defaults()}}
	d.opts.Grafana = program
	d.stack.Config.ClickHouse.Addrs = []string{"127.0.0.1:4321"}
	if err := d.look(map[string]string{"weir-worker": "127.0.0.1:1", "weir-gate": "127.0.0.1:2"}); err != nil {
		t.Fatal(err)
	}
	args := awaitFile(t, filepath.Join(tools, "grafana.ready"))
	if !slices.Equal(args, []string{"server", "--homepath", home}) {
		t.Errorf("Grafana is started with %v", args)
	}
	address, err := url.Parse(d.viewer.address)
	if err != nil || address.Hostname() != "127.0.0.1" || !strings.Contains(out.String(), d.viewer.address+"/d/weir-overview") {
		t.Errorf("Grafana is at %s, and it says\n%s", d.viewer.address, out.String())
	}
	env := awaitFile(t, filepath.Join(tools, "grafana.env"))
	for _, want := range []string{
		"GF_SERVER_HTTP_ADDR=127.0.0.1", "GF_SERVER_HTTP_PORT=" + address.Port(), "GF_PATHS_PROVISIONING=" + filepath.Join(dir, "grafana", "provisioning"),
		"GF_AUTH_ANONYMOUS_ENABLED=true", "GF_AUTH_ANONYMOUS_ORG_ROLE=Viewer", "GF_PLUGINS_PREINSTALL=" + clickhousePlugin, "GF_ANALYTICS_REPORTING_ENABLED=false",
	} {
		if !slices.Contains(env, want) {
			t.Errorf("Grafana does not get %s:\n%v", want, env)
		}
	}
	sources, provider := provisioned(t, filepath.Join(dir, "grafana", "provisioning"))
	if !strings.Contains(sources, "port: 4321") || !strings.Contains(sources, "grafana-clickhouse-datasource") || !strings.Contains(sources, "url: http://127.0.0.1:") {
		t.Errorf("the data sources are\n%s", sources)
	}
	if found, err := filepath.Glob(filepath.Join(provider, "*.json")); err != nil || len(found) != 7 {
		t.Errorf("%s has the dashboards %v (%v)", provider, found, err)
	}
	scraped, err := os.ReadFile(filepath.Join(dir, "grafana", "prometheus.yml"))
	if err != nil || !strings.Contains(string(scraped), "127.0.0.1:1") || !strings.Contains(string(scraped), "job_name: weir-gate") {
		t.Errorf("Prometheus reads (%v)\n%s", err, scraped)
	}
	if args := awaitFile(t, filepath.Join(tools, "prometheus-told.ready")); len(args) != 3 || !strings.HasPrefix(args[2], "--web.listen-address=127.0.0.1:") {
		t.Errorf("Prometheus is started with %v", args)
	}
	if said := d.viewer.ended(); len(said) > 0 {
		t.Errorf("it says %v of programs that run", said)
	}
	d.viewer.children[1].Kill()
	if said := d.viewer.ended(); len(said) != 1 || !strings.Contains(said[0], "prometheus has ended") || d.viewer.ended() != nil {
		t.Errorf("it says %v", said)
	}
	ctx, cancel := context.WithCancel(t.Context())
	time.AfterFunc(20*time.Millisecond, cancel)
	if d.linger(ctx); ctx.Err() == nil || !strings.Contains(out.String(), "until you press Ctrl-C") {
		t.Errorf("it did not wait until the user ended it, and says\n%s", out.String())
	}
	if err := d.viewer.close(); err != nil {
		t.Error(err)
	}
	<-d.viewer.children[0].Ended()
}

// provisioned reads what is provisioned: the text of the data sources, and the directory
// of the dashboards.
func provisioned(t *testing.T, dir string) (sources, path string) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(dir, "datasources", "weir.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	provider, err := os.ReadFile(filepath.Join(dir, "dashboards", "weir.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	var p struct {
		Providers []struct {
			Options struct {
				Path string `yaml:"path"`
			} `yaml:"options"`
		} `yaml:"providers"`
	}
	if err := yaml.Unmarshal(provider, &p); err != nil || len(p.Providers) != 1 {
		t.Fatalf("%v in\n%s", err, provider)
	}
	return string(text), p.Providers[0].Options.Path
}

func TestWithoutGrafanaItSaysHowToLook(t *testing.T) {
	var out bytes.Buffer
	d := &demo{opts: Defaults(), out: &out, stack: &stack.Stack{Dir: t.TempDir(), Config: app.Defaults()}}
	if err := d.look(map[string]string{"weir-worker": "127.0.0.1:1"}); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"ClickHouse is at", "http://127.0.0.1:1/metrics", "-grafana PATH"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("it does not say %q:\n%s", want, out.String())
		}
	}
	if err := d.viewer.close(); err != nil || d.viewer.ended() != nil {
		t.Error(err)
	}
}
