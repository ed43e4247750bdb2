package weir_test

import (
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/compose-spec/compose-go/v2/loader"
	"github.com/compose-spec/compose-go/v2/types"
	"go.yaml.in/yaml/v4"

	"github.com/weirdev/weir/proof/testkit"
)

// secretName tells that a variable holds what nobody else should know.
var secretName = regexp.MustCompile(`PASSWORD|SECRET|TOKEN|AUTH$`)

// variable is one of docker-compose.yml, with what stands in its place if it is not set.
var variable = regexp.MustCompile(`\$\{([A-Z_]+)([^}]*)\}`)

// loadCompose reads the text of a file as docker compose does, with all profiles.
func loadCompose(t *testing.T, text string, env map[string]string) (*types.Project, error) {
	t.Helper()
	dir, err := os.Getwd()
	if err != nil {
		t.Fatal(err)
	}
	return loader.LoadWithContext(t.Context(), types.ConfigDetails{
		WorkingDir:  dir,
		ConfigFiles: []types.ConfigFile{{Filename: filepath.Join(dir, "docker-compose.yml"), Content: []byte(text)}},
		Environment: maps.Clone(env), // it is added to
	}, loader.WithProfiles([]string{"*"}))
}

// compose is the project with secrets as make secrets makes them.
func compose(t *testing.T) *types.Project {
	t.Helper()
	p, err := loadCompose(t, read(t, "docker-compose.yml"), secrets(t, t.TempDir()))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

func TestComposeIsRefusedWhereItIsWrong(t *testing.T) {
	text, env := read(t, "docker-compose.yml"), secrets(t, t.TempDir())
	for change, c := range map[string]struct{ from, to, says string }{
		"a misspelt key":                  {"  redis:\n    image:", "  redis:\n    imagee:", "imagee"},
		"a service that is not there":     {"redis: {condition: service_healthy}", "rediss: {condition: service_healthy}", "rediss"},
		"a volume that is not declared":   {`["redis:/data"]`, `["other:/data"]`, "other"},
		"a condition that does not exist": {"service_completed_successfully", "service_done", "condition"},
	} {
		wrong := strings.Replace(text, c.from, c.to, 1)
		if wrong == text {
			t.Errorf("%s: %q is not there to be changed", change, c.from)
		}
		if _, err := loadCompose(t, wrong, env); err == nil || !strings.Contains(err.Error(), c.says) {
			t.Errorf("%s: %v", change, err)
		}
	}
	for name := range env {
		without := maps.Clone(env)
		delete(without, name)
		if _, err := loadCompose(t, text, without); err == nil || !strings.Contains(err.Error(), name) || !strings.Contains(err.Error(), "make secrets") {
			t.Errorf("without %s: %v", name, err)
		}
	}
}

// TestComposeHasNoPasswordByDefault: whatever is secret differs from one making of
// secrets to the next.
func TestComposeHasNoPasswordByDefault(t *testing.T) {
	for _, m := range variable.FindAllStringSubmatch(read(t, "docker-compose.yml"), -1) {
		if secretName.MatchString(m[1]) && !strings.HasPrefix(m[2], ":?") {
			t.Errorf("${%s%s} has a value of its own, or none", m[1], m[2])
		}
	}
	found, others := 0, compose(t).Services
	for name, s := range compose(t).Services {
		for key, value := range s.Environment {
			if !secretName.MatchString(key) {
				continue
			}
			found++
			if other := others[name].Environment[key]; value == nil || len(*value) < 24 || *value == *other {
				t.Errorf("%s: %s is the same for everybody, or short", name, key)
			}
		}
	}
	if found < 15 {
		t.Errorf("only %d secrets were found", found)
	}
	if g := others["grafana"].Environment; g["GF_SECURITY_ADMIN_PASSWORD"] == nil || g["GF_AUTH_ANONYMOUS_ENABLED"] != nil {
		t.Errorf("Grafana lets anybody in: %v", g)
	}
	for service, user := range map[string]string{"worker": "weir_writer", "migrate": "weir_migrator"} {
		if got := others[service].Environment["WEIR_CLICKHOUSE_USER"]; got == nil || *got != user {
			t.Errorf("%s is another user of ClickHouse than %s", service, user)
		}
	}
}

func TestComposeServicesAreBoundedWatchedAndLocal(t *testing.T) {
	p := compose(t)
	for name, want := range map[string]int{"kafka": 1, "clickhouse": 1, "redis": 1, "migrate": 1, "worker": 2, "gate": 1, "console": 1, "prometheus": 1, "alertmanager": 1, "grafana": 1, "generator": 1, "canary": 1} {
		s, ok := p.Services[name]
		if !ok {
			t.Errorf("there is no %s", name)
		} else if s.GetScale() != want {
			t.Errorf("%d of %s run, want %d", s.GetScale(), name, want)
		}
	}
	weirs := regexp.MustCompile(`^weir:`)
	for name, s := range p.Services {
		once := s.Restart == "no"
		if s.Image == "" || strings.Contains(s.Image, "latest") || !strings.Contains(s.Image, ":") {
			t.Errorf("%s: the image %q has no version", name, s.Image)
		}
		if s.Deploy == nil || s.Deploy.Resources.Limits == nil || s.Deploy.Resources.Limits.NanoCPUs <= 0 || s.Deploy.Resources.Limits.MemoryBytes <= 0 {
			t.Errorf("%s may take all CPUs, or all memory", name)
		}
		serves := !once && name != "generator"
		if watched := s.HealthCheck != nil && !s.HealthCheck.Disable; watched != serves {
			t.Errorf("%s: serves: %v, has its health checked: %v", name, serves, watched)
		}
		if !once && s.Restart != "unless-stopped" {
			t.Errorf("%s: restart is %q", name, s.Restart)
		}
		if s.Logging == nil || s.Logging.Options["max-size"] == "" {
			t.Errorf("%s: its log may fill the disk", name)
		}
		for _, port := range s.Ports {
			if port.HostIP != "127.0.0.1" {
				t.Errorf("%s: port %s can be reached from elsewhere", name, port.Published)
			}
			if s.GetScale() > 1 {
				t.Errorf("%s: %d containers cannot have one port", name, s.GetScale())
			}
		}
		for _, v := range s.Volumes {
			if v.Type == types.VolumeTypeBind {
				if _, err := os.Stat(v.Source); err != nil || !v.ReadOnly {
					t.Errorf("%s: %s is not there, or may be changed (%v)", name, v.Source, err)
				}
			}
		}
		for on, d := range s.DependsOn {
			if of := p.Services[on]; (of.Restart == "no") != (d.Condition == types.ServiceConditionCompletedSuccessfully) {
				t.Errorf("%s waits for %s to be %s", name, on, d.Condition)
			}
		}
		if weirs.MatchString(s.Image) {
			weirService(t, name, s)
		}
	}
}

// weirService checks what holds for Weir's own programs.
func weirService(t *testing.T, name string, s types.ServiceConfig) {
	t.Helper()
	if written := len(s.Configs) > 0; s.ReadOnly == written {
		t.Errorf("%s: compose writes files into it: %v, which a read-only one (%v) does not let it", name, written, s.ReadOnly)
	}
	if !slices.Contains(s.CapDrop, "ALL") || !slices.Contains(s.SecurityOpt, "no-new-privileges:true") {
		t.Errorf("%s may do more than it needs", name)
	}
	known := settingsByVariable(t)
	for key, value := range s.Environment {
		if strings.HasPrefix(key, "WEIR_") && known[key] == "" {
			t.Errorf("%s: %s is no setting", name, key)
		}
		if key == "GOMEMLIMIT" {
			withinLimit(t, name, *value, int64(s.Deploy.Resources.Limits.MemoryBytes))
		}
	}
	if s.Restart != "no" && name != "generator" && s.Environment["GOMEMLIMIT"] == nil {
		t.Errorf("%s has no GOMEMLIMIT", name)
	}
}

// settingsByVariable are the settings of the reference, by their variables.
func settingsByVariable(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, m := range regexp.MustCompile("(?m)^\\| `([a-z_.]+)` \\|").FindAllStringSubmatch(read(t, "docs/settings-reference.md"), -1) {
		all["WEIR_"+strings.ToUpper(strings.ReplaceAll(m[1], ".", "_"))] = m[1]
	}
	if len(all) < 80 {
		t.Fatalf("only %d settings were found", len(all))
	}
	return all
}

// withinLimit checks that Go's memory limit leaves a container some room: 80 to 92 %.
func withinLimit(t *testing.T, name, goLimit string, limit int64) {
	t.Helper()
	n, err := strconv.ParseInt(strings.TrimSuffix(goLimit, "MiB"), 10, 64)
	if share := float64(n<<20) / float64(limit); err != nil || share < 0.8 || share > 0.92 {
		t.Errorf("%s: GOMEMLIMIT %s is not nine tenths of the limit of %d bytes (%v)", name, goLimit, limit, err)
	}
}

// TestPrometheusOfComposeFindsItsTargets reads Prometheus's and Alertmanager's files.
func TestPrometheusOfComposeFindsItsTargets(t *testing.T) {
	promtool := testkit.Tool(t, "promtool", "install Prometheus (Debian: apt-get install prometheus)")
	rules, err := filepath.Abs(alertFile)
	if err != nil {
		t.Fatal(err)
	}
	text := read(t, "deploy/compose/prometheus.yml")
	here := strings.Replace(text, "/etc/prometheus/weir-alerts.yml", rules, 1)
	if here == text {
		t.Error("Prometheus reads no alerts")
	}
	file := filepath.Join(t.TempDir(), "prometheus.yml")
	if err := os.WriteFile(file, []byte(here), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, err := exec.Command(promtool, "check", "config", "--lint=none", file).CombinedOutput(); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
	var prometheus struct {
		Scrape []struct {
			Job string `yaml:"job_name"`
			DNS []struct {
				Names []string `yaml:"names"`
			} `yaml:"dns_sd_configs"`
		} `yaml:"scrape_configs"`
	}
	if err := yaml.Unmarshal([]byte(text), &prometheus); err != nil {
		t.Fatal(err)
	}
	services, scraped := compose(t).Services, map[string]bool{}
	for _, s := range prometheus.Scrape {
		for _, d := range s.DNS {
			for _, name := range d.Names {
				scraped[name] = s.Job == "weir-"+name
				if _, ok := services[name]; !ok {
					t.Errorf("%s: there is no service %s", s.Job, name)
				}
			}
		}
	}
	for name, s := range services {
		if s.Environment["WEIR_ADMIN_LISTEN"] != nil && s.Restart != "no" && !scraped[name] {
			t.Errorf("Prometheus does not ask %s, or not as the job weir-%s", name, name)
		}
	}
	var to struct {
		Inhibit []struct {
			Sources []string `yaml:"source_matchers"`
			Targets []string `yaml:"target_matchers"`
		} `yaml:"inhibit_rules"`
	}
	if err := yaml.Unmarshal([]byte(read(t, "deploy/compose/alertmanager.yml")), &to); err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, a := range alerts(t) {
		names = append(names, a.Alert)
	}
	for _, i := range to.Inhibit {
		for _, m := range append(i.Sources, i.Targets...) {
			for _, name := range regexp.MustCompile(`Weir\w+`).FindAllString(m, -1) {
				if !slices.Contains(names, name) {
					t.Errorf("Alertmanager: there is no alert %s", name)
				}
			}
		}
	}
}

// secrets makes the secrets in a directory.
func secrets(t *testing.T, dir string) map[string]string {
	t.Helper()
	if out, err := exec.Command("bash", "tools/compose/secrets.sh", dir).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	file := filepath.Join(dir, ".env")
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(file); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("others may read %s: %v (%v)", file, info.Mode(), err)
	}
	all := map[string]string{}
	for line := range strings.Lines(string(text)) {
		name, value, _ := strings.Cut(strings.TrimSpace(line), "=")
		all[name] = value
	}
	return all
}

func TestSecretsAreMadeOnce(t *testing.T) {
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "weir.secret"), []byte("from before, 16 bytes or more\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	first, second, other := secrets(t, dir), secrets(t, dir), secrets(t, t.TempDir())
	if first["WEIR_STREAM_SECRET"] != "from before, 16 bytes or more" {
		t.Errorf("the stream's secret has changed to %q", first["WEIR_STREAM_SECRET"])
	}
	for name, value := range first {
		if second[name] != value || other[name] == value || other[name] == "" {
			t.Errorf("%s is %q, then %q, and elsewhere %q", name, value, second[name], other[name])
		}
	}
	ignored, err := os.ReadFile(".gitignore")
	if err != nil || !slices.Contains(strings.Fields(string(ignored)), "/.env") {
		t.Errorf(".env is not left out of commits (%v)", err)
	}
}
