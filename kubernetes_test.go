package weir_test

import (
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/spf13/pflag"
	"go.yaml.in/yaml/v4"

	"github.com/weirdev/weir/app"
	"github.com/weirdev/weir/app/settings"
	"github.com/weirdev/weir/proof/testkit"
)

var update = flag.Bool("update", false, "rewrite generated files")

// TestThePrometheusRuleIsUpToDate: alerts have one source; Prometheus's operator wants
// them in an object of its own.
func TestThePrometheusRuleIsUpToDate(t *testing.T) {
	var b strings.Builder
	b.WriteString(`# Generated from deploy/prometheus-alerts.yml by make generate. Do not edit.
apiVersion: monitoring.coreos.com/v1
kind: PrometheusRule
metadata:
  name: weir
  labels: {app.kubernetes.io/name: weir}
spec:
`)
	for line := range strings.Lines(read(t, alertFile)) {
		if line != "\n" {
			line = "  " + line
		}
		b.WriteString(line)
	}
	const path = "deploy/kubernetes/components/monitoring/prometheusrule.yaml"
	if *update {
		if err := os.WriteFile(path, []byte(b.String()), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != b.String() {
		t.Errorf("%s is not what %s says (%v); make generate rewrites it", path, alertFile, err)
	}
}

// object is one of Kubernetes.
type object map[string]any

// at returns what is at a path of keys and indices; nil if there is nothing.
func (o object) at(path ...any) any {
	var v any = map[string]any(o)
	for _, p := range path {
		switch p := p.(type) {
		case string:
			m, _ := v.(map[string]any)
			v = m[p]
		case int:
			l, _ := v.([]any)
			if p >= len(l) {
				return nil
			}
			v = l[p]
		}
	}
	return v
}

func (o object) kind() string { return fmt.Sprint(o.at("kind")) }
func (o object) name() string { return fmt.Sprint(o.at("metadata", "name")) }
func (o object) list(path ...any) (all []object) {
	l, _ := o.at(path...).([]any)
	for _, v := range l {
		m, _ := v.(map[string]any)
		all = append(all, m)
	}
	return all
}

func (o object) text(path ...any) string {
	v := o.at(path...)
	if v == nil {
		return ""
	}
	return fmt.Sprint(v)
}

// rendered are the objects of an overlay, as kubectl would apply them.
func rendered(t *testing.T, overlay string) (all []object) {
	t.Helper()
	var failure bytes.Buffer
	dir := "deploy/kubernetes/overlays/" + overlay
	command := testkit.Kustomize(t, dir)
	command.Stderr = &failure
	out, err := command.Output()
	if err != nil {
		t.Fatalf("%v: %v\n%s", command, err, failure.String())
	}
	d := yaml.NewDecoder(bytes.NewReader(out))
	for {
		var o map[string]any
		if err := d.Decode(&o); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		all = append(all, o)
	}
	return all
}

var overlays = []string{"single", "production"}

// TestKubernetesKnowsItsObjects has kubernetes-validate compare them with the schemas
// of several versions. It knows no objects of operators; TestObjectsOfOperators does.
func TestKubernetesKnowsItsObjects(t *testing.T) {
	validator := testkit.FetchedTool(t, "kubernetes-validate")
	validate := func(objects []object) ([]byte, error) {
		var text strings.Builder
		for _, o := range objects {
			if strings.Contains(o.text("apiVersion"), "monitoring.coreos.com") || strings.Contains(o.text("apiVersion"), "keda.sh") {
				continue
			}
			b, err := yaml.Marshal(map[string]any(o))
			if err != nil {
				t.Fatal(err)
			}
			fmt.Fprintf(&text, "---\n%s", b)
		}
		file := filepath.Join(t.TempDir(), "objects.yaml")
		if err := os.WriteFile(file, []byte(text.String()), 0o600); err != nil {
			t.Fatal(err)
		}
		var said []byte
		for _, version := range []string{"1.30", "1.37"} {
			out, err := exec.Command(validator, "--strict", "-k", version, file).CombinedOutput()
			if said = append(said, out...); err != nil {
				return said, err
			}
		}
		return said, nil
	}
	for _, overlay := range overlays {
		all := rendered(t, overlay)
		if out, err := validate(all); err != nil {
			t.Errorf("%s: %v\n%s", overlay, err, out)
		}
		for _, o := range all {
			if o.kind() == "Deployment" {
				o.at("spec").(map[string]any)["replicas"] = "two"
				if out, err := validate([]object{o}); err == nil {
					t.Errorf("the validator takes a text for a number:\n%s", out)
				}
				break
			}
		}
	}
}

// programs are what an overlay runs: its pods' templates by name.
func programs(all []object) map[string]object {
	pods := map[string]object{}
	for _, o := range all {
		if k := o.kind(); k == "Deployment" || k == "Job" || k == "StatefulSet" || k == "CronJob" {
			pods[o.name()] = o.at("spec", "template").(map[string]any)
		}
	}
	return pods
}

func TestPodsAreRestrictedAndBounded(t *testing.T) {
	for _, overlay := range overlays {
		pods := programs(rendered(t, overlay))
		want := []string{"weir-console", "weir-gate", "weir-migrate", "weir-worker"}
		if overlay == "production" {
			want = append([]string{"weir-canary"}, want...)
		}
		if names := slices.Sorted(maps.Keys(pods)); !slices.Equal(names, want) {
			t.Errorf("%s runs %v", overlay, names)
		}
		for name, pod := range pods {
			t.Run(overlay+"/"+name, func(t *testing.T) { checkPod(t, name, pod) })
		}
	}
}

func checkPod(t *testing.T, name string, pod object) {
	for path, want := range map[string]string{"runAsNonRoot": "true", "runAsUser": "65532"} {
		if got := pod.text("spec", "securityContext", path); got != want {
			t.Errorf("%s is %q, want %s", path, got, want)
		}
	}
	if pod.text("spec", "securityContext", "seccompProfile", "type") != "RuntimeDefault" || pod.text("spec", "automountServiceAccountToken") != "false" {
		t.Error("it has no seccomp profile, or a token that it does not need")
	}
	for _, c := range pod.list("spec", "containers") {
		if image := c.text("image"); !regexp.MustCompile(`^[a-z0-9./-]+:[\w.-]+$`).MatchString(image) || strings.HasSuffix(image, ":latest") {
			t.Errorf("the image %q has no version", image)
		}
		s := object(c.at("securityContext").(map[string]any))
		if s.text("allowPrivilegeEscalation") != "false" || s.text("readOnlyRootFilesystem") != "true" || s.text("capabilities", "drop") != "[ALL]" {
			t.Errorf("it may do more than it needs: %v", s)
		}
		for _, what := range []string{"cpu", "memory"} {
			if c.text("resources", "limits", what) == "" || c.text("resources", "requests", what) == "" {
				t.Errorf("it has no request or limit of %s", what)
			}
		}
		if name == "weir-migrate" {
			continue
		}
		wantReady := "/readyz"
		if name == "weir-console" {
			wantReady = "/healthz"
		}
		for probe, path := range map[string]string{"startupProbe": "/healthz", "livenessProbe": "/healthz", "readinessProbe": wantReady} {
			if got := c.text(probe, "httpGet", "path"); got != path {
				t.Errorf("%s asks %q, want %s", probe, got, path)
			}
		}
		if grace, _ := strconv.Atoi(pod.text("spec", "terminationGracePeriodSeconds")); grace <= 25 {
			t.Errorf("it is killed after %d s, and stop_timeout is 25 s", grace)
		}
		checkEnvironment(t, c)
	}
}

// checkEnvironment: variables are settings that exist, files are where volumes are
// mounted, and secrets are files.
func checkEnvironment(t *testing.T, c object) {
	t.Helper()
	known, goLimit := settingsByVariable(t), ""
	for _, e := range c.list("env") {
		name, value := e.text("name"), e.text("value")
		if strings.HasPrefix(name, "WEIR_") && name != "WEIR_CONFIG" && known[name] == "" {
			t.Errorf("%s is no setting", name)
		}
		if secretName.MatchString(name) && !strings.HasSuffix(name, "_FILE") {
			t.Errorf("%s has a secret inline", name)
		}
		if strings.HasPrefix(value, "/") && !slices.ContainsFunc(c.list("volumeMounts"), func(m object) bool { return strings.HasPrefix(value, m.text("mountPath")) }) {
			t.Errorf("%s: nothing is mounted at %s", name, value)
		}
		if name == "GOMEMLIMIT" {
			goLimit = value
		}
	}
	limit, err := strconv.ParseInt(strings.TrimSuffix(c.text("resources", "limits", "memory"), "Mi"), 10, 64)
	if err != nil {
		t.Fatal(err)
	}
	withinLimit(t, c.text("name"), goLimit, limit<<20)
}

// uses are the settings of what a manifest or a unit runs.
func uses(t *testing.T, name string) settings.Selection {
	t.Helper()
	all := map[string]settings.Selection{
		"weir-worker": app.WorkerSettings(), "weir-gate": app.GateSettings(), "weir-migrate": app.MigrateSettings(), "weir-console": app.ConsoleSettings(), "weir-canary": app.CanarySettings(),
	}
	if all[name] == nil {
		t.Fatalf("nobody knows what %s runs", name)
	}
	return all[name]
}

// starts reports whether a program would take its settings: those of a file, and
// variables. Secrets are some file's content.
func starts(t *testing.T, name, file string, environ []string) error {
	t.Helper()
	text := read(t, file)
	if regexp.MustCompile(`(?m)^ *(?:[a-z_]*password|secret|token):`).MatchString(text) {
		t.Errorf("%s has a secret inline", file)
	}
	dir := t.TempDir()
	here := strings.NewReplacer("/run/secrets/weir/", dir+"/", "%d/", dir+"/")
	put := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, secret := range []string{"stream", "redis", "clickhouse", "kafka", "token", "users"} {
		put(secret, "an example, never a real one")
	}
	file = put("weir.yaml", here.Replace(text))
	environ = slices.Clone(environ)
	for i := range environ {
		environ[i] = here.Replace(environ[i])
	}
	c := app.Defaults()
	_, err := settings.Load(&c, settings.From{File: file, Environ: environ, Known: []string{"WEIR_CONFIG"}, Flags: new(pflag.FlagSet)})
	return errors.Join(err, c.ValidateFor(uses(t, name)))
}

func TestProgramsTakeTheSettingsOfManifests(t *testing.T) {
	for overlay, file := range map[string]string{"single": "deploy/kubernetes/base/weir.yaml", "production": "deploy/kubernetes/overlays/production/weir.yaml"} {
		var config string
		all := rendered(t, overlay)
		for _, o := range all {
			if o.kind() == "ConfigMap" && o.at("data", "weir.yaml") != nil {
				config = o.text("data", "weir.yaml")
			}
		}
		if config != read(t, file) {
			t.Errorf("%s has other settings than those of %s", overlay, file)
		}
		for name, pod := range programs(all) {
			var environ []string
			for _, e := range pod.list("spec", "containers", 0, "env") {
				environ = append(environ, e.text("name")+"="+e.text("value"))
			}
			if err := starts(t, name, file, environ); err != nil {
				t.Errorf("%s in %s: %v", name, overlay, err)
			}
		}
	}
	wrong := filepath.Join(t.TempDir(), "weir.yaml")
	if err := os.WriteFile(wrong, []byte("kafka: {brokers: kafka:9092}\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := starts(t, "weir-worker", wrong, nil); err == nil {
		t.Error("a text is taken for a list")
	}
}

// TestManifestsFitTogether: budgets, services, policies and monitors select what is
// there, secrets are none of ours, and ports have names that exist.
func TestManifestsFitTogether(t *testing.T) {
	for _, overlay := range overlays {
		all := rendered(t, overlay)
		pods := programs(all)
		selects := func(o object, path ...any) (n int) {
			want, _ := o.at(path...).(map[string]any)
			for _, pod := range pods {
				labels, _ := pod.at("metadata", "labels").(map[string]any)
				if len(want) > 0 && !slices.ContainsFunc(slices.Collect(maps.Keys(want)), func(k string) bool { return labels[k] != want[k] }) {
					n++
				}
			}
			return n
		}
		found := map[string]int{}
		for _, o := range all {
			found[o.kind()]++
			if o.kind() == "Secret" {
				t.Errorf("%s: the secret %s is in the manifests", overlay, o.name())
			}
			if o.kind() != "Namespace" && o.text("metadata", "namespace") != "weir" {
				t.Errorf("%s: %s %s is in namespace %q", overlay, o.kind(), o.name(), o.text("metadata", "namespace"))
			}
			switch o.kind() {
			case "PodDisruptionBudget":
				if selects(o, "spec", "selector", "matchLabels") != 1 || o.text("spec", "maxUnavailable") != "1" {
					t.Errorf("%s: the budget %s is of nothing, or lets a drain wait for ever", overlay, o.name())
				}
			case "Service":
				if selects(o, "spec", "selector") != 1 || pods[o.name()] == nil {
					t.Errorf("%s: the service %s is of nothing", overlay, o.name())
					continue
				}
				if !slices.ContainsFunc(o.list("spec", "ports"), func(p object) bool { return p.text("name") == "admin" }) {
					t.Errorf("%s: Prometheus does not see %s", overlay, o.name())
				}
				for _, p := range o.list("spec", "ports") {
					if !slices.ContainsFunc(pods[o.name()].list("spec", "containers", 0, "ports"), func(c object) bool { return c.text("name") == p.text("targetPort") }) {
						t.Errorf("%s: the service %s leads to port %s, which its pods lack", overlay, o.name(), p.text("targetPort"))
					}
				}
			case "NetworkPolicy":
				if selects(o, "spec", "podSelector", "matchLabels") == 0 {
					t.Errorf("%s: the policy %s is of nothing", overlay, o.name())
				}
			case "ConfigMap":
				checkConfigMap(t, o)
			}
		}
		want := map[string]int{"Deployment": 3, "Job": 1, "PodDisruptionBudget": 2, "Service": 3, "NetworkPolicy": 6, "Namespace": 1}
		if overlay == "production" {
			dashboards, err := filepath.Glob("dashboards/*.json")
			if err != nil {
				t.Fatal(err)
			}
			maps.Copy(want, map[string]int{"ServiceMonitor": 1, "PrometheusRule": 1, "ScaledObject": 1, "TriggerAuthentication": 1, "Deployment": 4, "Service": 4, "ConfigMap": len(dashboards) + 2})
		}
		for kind, n := range want {
			if found[kind] != n {
				t.Errorf("%s: %d objects of kind %s, want %d", overlay, found[kind], kind, n)
			}
		}
	}
}

func checkConfigMap(t *testing.T, o object) {
	t.Helper()
	data, _ := o.at("data").(map[string]any)
	for file, text := range data {
		if size := len(fmt.Sprint(text)); size > 1_000_000 {
			t.Errorf("ConfigMap %s: %s has %d bytes, more than fit", o.name(), file, size)
		}
		if strings.HasSuffix(file, ".json") && o.text("metadata", "labels", "grafana_dashboard") != "1" {
			t.Errorf("Grafana's sidecar does not see ConfigMap %s", o.name())
		}
	}
}

// TestObjectsOfOperators checks the shape of those that have no schema at hand.
func TestObjectsOfOperators(t *testing.T) {
	all := rendered(t, "production")
	pods := programs(all)
	topics, triggers := map[string]string{}, 0
	for _, o := range all {
		switch o.kind() {
		case "ServiceMonitor":
			for _, e := range o.list("spec", "endpoints") {
				if e.text("port") != "admin" || e.text("path") != "/metrics" {
					t.Errorf("Prometheus would ask %v", e)
				}
			}
			if o.text("apiVersion") != "monitoring.coreos.com/v1" || o.text("spec", "selector", "matchLabels", "app.kubernetes.io/name") != "weir" {
				t.Errorf("the monitor is %v", o)
			}
		case "PrometheusRule":
			n := 0
			for _, g := range o.list("spec", "groups") {
				for _, r := range g.list("rules") {
					if r.text("alert") != "" {
						n++
					}
				}
			}
			if n != len(alerts(t)) {
				t.Errorf("%d alerts in Kubernetes, %d in %s", n, len(alerts(t)), alertFile)
			}
		case "ScaledObject":
			target := o.text("spec", "scaleTargetRef", "name")
			if pods[target] == nil {
				t.Errorf("KEDA scales %s, which is not there", target)
			}
			least, _ := strconv.Atoi(o.text("spec", "minReplicaCount"))
			most, _ := strconv.Atoi(o.text("spec", "maxReplicaCount"))
			if least < 2 || most < least {
				t.Errorf("KEDA scales from %d to %d", least, most)
			}
			for _, job := range all {
				if job.kind() == "Job" && most > 12 {
					t.Errorf("%d workers share 12 partitions of events", most)
				}
				if job.kind() == "Deployment" && job.name() == target && job.at("spec", "replicas") != nil {
					t.Errorf("%s has replicas of its own, which every apply would set", target)
				}
			}
			for _, trigger := range o.list("spec", "triggers") {
				triggers++
				topics[trigger.text("metadata", "consumerGroup")] = trigger.text("metadata", "topic")
				for k, v := range trigger.at("metadata").(map[string]any) {
					if _, ok := v.(string); !ok {
						t.Errorf("KEDA: %s is %v, which is no text", k, v)
					}
				}
				if trigger.text("authenticationRef", "name") != "weir-kafka" {
					t.Error("KEDA does not say who it is")
				}
			}
		}
	}
	if want := map[string]string{"weir.ingest": "weir.events", "weir.detect": "weir.facets"}; triggers != 2 || !maps.Equal(topics, want) {
		t.Errorf("KEDA looks at %v, want %v", topics, want)
	}
}
