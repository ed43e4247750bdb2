package weir_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"go.yaml.in/yaml/v4"
)

// secretName tells that a variable holds what nobody else should know.
var secretName = regexp.MustCompile(`PASSWORD|SECRET|TOKEN|AUTH`)

// required is a variable without which compose refuses to start, with a sentence.
var required = regexp.MustCompile(`\$\{([A-Z_]+):\?([^}]+)\}`)

type composeFile struct {
	Services map[string]struct {
		Image       string            `yaml:"image"`
		Command     any               `yaml:"command"`
		Environment map[string]string `yaml:"environment"`
		Ports       []string          `yaml:"ports"`
	} `yaml:"services"`
}

func TestComposeHasNoPasswordByDefault(t *testing.T) {
	text, err := os.ReadFile("docker-compose.yml")
	if err != nil {
		t.Fatal(err)
	}
	var c composeFile
	if err := yaml.Unmarshal(text, &c); err != nil {
		t.Fatal(err)
	}
	for _, m := range regexp.MustCompile(`\$\{([A-Z_]+)([^}]*)\}`).FindAllStringSubmatch(string(text), -1) {
		if secretName.MatchString(m[1]) && !strings.HasPrefix(m[2], ":?") {
			t.Errorf("${%s%s} has a value of its own, or none", m[1], m[2])
		}
	}
	needed := map[string]bool{}
	for name, s := range c.Services {
		for key, value := range s.Environment {
			m := required.FindStringSubmatch(value)
			switch {
			case m != nil:
				needed[m[1]] = true
				if !strings.Contains(m[2], "make secrets") {
					t.Errorf("%s: who lacks %s is not told what to do: %s", name, m[1], m[2])
				}
			case secretName.MatchString(key) && !strings.HasSuffix(key, "_FILE"):
				t.Errorf("%s: %s is %q for everybody", name, key, value)
			}
		}
		for _, p := range s.Ports {
			if !strings.HasPrefix(p, "127.0.0.1:") {
				t.Errorf("%s: port %s can be reached from elsewhere", name, p)
			}
		}
		if s.Image == "" || strings.Contains(s.Image, "latest") || !strings.Contains(s.Image, ":") {
			t.Errorf("%s: the image %q has no version", name, s.Image)
		}
	}
	if g := c.Services["grafana"].Environment; g["GF_SECURITY_ADMIN_PASSWORD"] == "" || g["GF_AUTH_ANONYMOUS_ENABLED"] == "true" {
		t.Errorf("Grafana lets anybody in: %v", g)
	}
	for service, variable := range map[string]string{"clickhouse": "CLICKHOUSE_PASSWORD", "redis": "REDISCLI_AUTH", "worker": "WEIR_REDIS_PASSWORD", "gate": "WEIR_STREAM_SECRET"} {
		if !required.MatchString(c.Services[service].Environment[variable]) {
			t.Errorf("%s runs without %s", service, variable)
		}
	}
	made := secrets(t, t.TempDir())
	for variable := range needed {
		if len(made[variable]) < 24 {
			t.Errorf("make secrets gives %s the value %q", variable, made[variable])
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
