package demo

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"

	"go.yaml.in/yaml/v4"

	"github.com/weirdev/weir/app/procs"
	"github.com/weirdev/weir/dashboards"
)

// clickhousePlugin is what Grafana installs to read ClickHouse, unless it is there.
const clickhousePlugin = "grafana-clickhouse-datasource@4.20.0"

// scrapeEvery is how often Prometheus reads the metrics of the demonstration.
const scrapeEvery = "2s"

// viewer is a Grafana that shows the demonstration, and a Prometheus for its metrics.
// They end with it.
type viewer struct {
	address  string // of Grafana: URL
	children []*viewing
}

// viewing is one of the viewer's programs.
type viewing struct {
	*procs.Child
	name string
	log  *os.File
	told bool // that it has ended by itself
}

// look says how to look at what happens, and starts a Grafana if the user has named one.
// jobs are the addresses of metrics by job.
func (d *demo) look(jobs map[string]string) error {
	d.say("look at it meanwhile: ClickHouse is at %s (native protocol, database %s)", d.stack.Config.ClickHouse.Addrs[0], d.stack.Config.ClickHouse.Database)
	for _, job := range []string{"weir-worker", "weir-gate"} {
		if addr := jobs[job]; addr != "" {
			d.say("  metrics of %s: http://%s/metrics", job, addr)
		}
	}
	if d.opts.Grafana == "" {
		d.say("  -grafana PATH starts a Grafana of this machine with Weir's dashboards")
		return nil
	}
	v, err := startViewer(filepath.Join(d.stack.Dir, "grafana"), d.opts.Grafana, d.stack.Config.ClickHouse.Addrs[0], d.stack.Config.ClickHouse.Database, jobs)
	if err != nil {
		return fmt.Errorf("-grafana: %w", err)
	}
	d.viewer = v
	d.say("  Grafana starts at %s/d/weir-overview; nobody needs to sign in, and its log is %s", v.address, v.children[0].log.Name())
	if len(v.children) == 1 {
		d.say("  no prometheus is on the PATH, so panels of metrics stay empty; apt-get install prometheus")
	}
	return nil
}

// startViewer starts Grafana, and Prometheus if it is installed, with everything of
// theirs in dir.
func startViewer(dir, program, clickhouse, database string, jobs map[string]string) (v *viewer, err error) {
	path, err := exec.LookPath(program)
	if err != nil {
		return nil, fmt.Errorf("%w; name the program, such as /usr/sbin/grafana", err)
	}
	if path, err = filepath.Abs(path); err != nil {
		return nil, err
	}
	v = &viewer{}
	defer func() {
		if err != nil {
			err = errors.Join(err, v.close())
		}
	}()
	grafana, err := freeAddr()
	if err != nil {
		return v, err
	}
	prometheus := ""
	if _, err := exec.LookPath("prometheus"); err == nil {
		if prometheus, err = freeAddr(); err != nil {
			return v, err
		}
	}
	if err := provision(dir, clickhouse, database, prometheus); err != nil {
		return v, err
	}
	v.address = "http://" + grafana
	if err := v.run(dir, path, grafanaArgs(path), grafanaEnv(dir, grafana)); err != nil || prometheus == "" {
		return v, err
	}
	return v, v.startPrometheus(dir, prometheus, jobs)
}

// grafanaArgs returns the command line: Grafana finds its own files beside the program
// or where a package puts them.
func grafanaArgs(path string) (args []string) {
	if filepath.Base(path) != "grafana-server" { // which has no subcommands
		args = append(args, "server")
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	for _, home := range []string{filepath.Dir(filepath.Dir(path)), filepath.Dir(path), "/usr/share/grafana"} {
		if _, err := os.Stat(filepath.Join(home, "conf", "defaults.ini")); err == nil {
			return append(args, "--homepath", home)
		}
	}
	return args
}

// grafanaEnv configures a Grafana that listens on this machine only, keeps nothing
// elsewhere, lets everybody look and nobody change, and asks no other server for
// anything but its plugin.
func grafanaEnv(dir, addr string) []string {
	host, port, _ := net.SplitHostPort(addr) // ours
	settings := [][2]string{
		{"SERVER_HTTP_ADDR", host}, {"SERVER_HTTP_PORT", port}, {"SERVER_PROTOCOL", "http"},
		{"PATHS_DATA", filepath.Join(dir, "data")}, {"PATHS_LOGS", filepath.Join(dir, "logs")}, {"PATHS_PROVISIONING", filepath.Join(dir, "provisioning")},
		{"DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH", filepath.Join(dir, "dashboards", "overview.json")},
		{"AUTH_ANONYMOUS_ENABLED", "true"}, {"AUTH_ANONYMOUS_ORG_ROLE", "Viewer"}, {"AUTH_DISABLE_LOGIN_FORM", "true"}, {"AUTH_BASIC_ENABLED", "false"},
		{"SECURITY_DISABLE_INITIAL_ADMIN_CREATION", "true"}, {"USERS_ALLOW_SIGN_UP", "false"},
		{"ANALYTICS_REPORTING_ENABLED", "false"}, {"ANALYTICS_CHECK_FOR_UPDATES", "false"}, {"ANALYTICS_CHECK_FOR_PLUGIN_UPDATES", "false"},
		{"NEWS_NEWS_FEED_ENABLED", "false"}, {"SECURITY_DISABLE_GRAVATAR", "true"}, {"PLUGINS_PREINSTALL", clickhousePlugin},
	}
	env := make([]string, len(settings))
	for i, s := range settings {
		env[i] = "GF_" + s[0] + "=" + s[1]
	}
	return env
}

// provision writes the dashboards, and what tells Grafana of them and of its data
// sources. prometheus is empty if there is none.
func provision(dir, clickhouse, database, prometheus string) error {
	host, port, err := net.SplitHostPort(clickhouse)
	if err != nil {
		return err
	}
	number, err := strconv.Atoi(port)
	if err != nil {
		return err
	}
	type object = map[string]any
	sources := []object{{
		"name": "ClickHouse", "uid": "clickhouse", "type": "grafana-clickhouse-datasource", "editable": false,
		"jsonData": object{"host": host, "port": number, "protocol": "native", "username": "default", "defaultDatabase": database},
	}}
	if prometheus != "" {
		sources = append(sources, object{
			"name": "Prometheus", "uid": "prometheus", "type": "prometheus", "url": "http://" + prometheus, "isDefault": true, "editable": false,
			"jsonData": object{"httpMethod": "POST", "timeInterval": scrapeEvery},
		})
	}
	all := filepath.Join(dir, "dashboards")
	if err := os.MkdirAll(all, 0o700); err != nil {
		return err
	}
	names, err := fs.Glob(dashboards.Files(), "*.json")
	if err != nil {
		return err
	}
	for _, name := range names {
		text, err := fs.ReadFile(dashboards.Files(), name)
		if err != nil {
			return err
		}
		if err := os.WriteFile(filepath.Join(all, name), text, 0o600); err != nil {
			return err
		}
	}
	return errors.Join(
		writeYAML(filepath.Join(dir, "provisioning", "datasources", "weir.yaml"), object{"apiVersion": 1, "datasources": sources}),
		writeYAML(filepath.Join(dir, "provisioning", "dashboards", "weir.yaml"), object{"apiVersion": 1, "providers": []object{{
			"name": "weir", "folder": "Weir", "type": "file", "allowUiUpdates": false, "options": object{"path": all},
		}}}),
	)
}

func writeYAML(path string, v any) error {
	text, err := yaml.Dump(v)
	if err != nil {
		return err
	}
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	return os.WriteFile(path, text, 0o600)
}

func (v *viewer) startPrometheus(dir, addr string, jobs map[string]string) error {
	type object = map[string]any
	var scrape []object
	for _, job := range []string{"weir-worker", "weir-gate"} {
		if jobs[job] != "" {
			scrape = append(scrape, object{"job_name": job, "static_configs": []object{{"targets": []string{jobs[job]}}}})
		}
	}
	config := filepath.Join(dir, "prometheus.yml")
	if err := writeYAML(config, object{"global": object{"scrape_interval": scrapeEvery, "scrape_timeout": scrapeEvery}, "scrape_configs": scrape}); err != nil {
		return err
	}
	path, err := exec.LookPath("prometheus")
	if err != nil {
		return err
	}
	return v.run(dir, path, []string{"--config.file=" + config, "--storage.tsdb.path=" + filepath.Join(dir, "prometheus"), "--web.listen-address=" + addr}, nil)
}

// run starts a program whose output goes to a file of its name.
func (v *viewer) run(dir, path string, args, env []string) error {
	name := filepath.Base(path)
	log, err := os.OpenFile(filepath.Join(dir, name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	child, err := procs.Start(path, args, env, log, syscall.SIGTERM)
	if err != nil {
		return errors.Join(fmt.Errorf("start %s: %w", path, err), log.Close())
	}
	v.children = append(v.children, &viewing{Child: child, name: name, log: log})
	return nil
}

// ended returns a sentence for each program that has ended by itself since the last
// call.
func (v *viewer) ended() (all []string) {
	if v == nil {
		return nil
	}
	for _, c := range v.children {
		select {
		case <-c.Ended():
			if !c.told {
				all = append(all, fmt.Sprintf("%s has ended (%v); its log is %s", c.name, c.Wait(), c.log.Name()))
			}
			c.told = true
		default:
		}
	}
	return all
}

// linger keeps Grafana until the user ends it: what it shows is whole only now. A script
// that reads JSON does not wait.
func (d *demo) linger(ctx context.Context) {
	if d.viewer == nil || d.opts.JSON || ctx.Err() != nil {
		return
	}
	d.say("\nGrafana shows this at %s/d/weir-overview until you press Ctrl-C", d.viewer.address)
	select {
	case <-ctx.Done():
	case <-d.viewer.children[0].Ended():
	}
}

// viewerStop is how long Grafana and Prometheus may take to end.
const viewerStop = 5 * time.Second

func (v *viewer) close() error {
	if v == nil {
		return nil
	}
	var errs []error
	for _, c := range v.children {
		// How a program ends that was told to is no error of ours.
		_ = c.Stop(viewerStop)
		errs = append(errs, c.log.Close())
	}
	return errors.Join(errs...)
}

func freeAddr() (string, error) {
	l, err := (&net.ListenConfig{}).Listen(context.Background(), "tcp", "127.0.0.1:0")
	if err != nil {
		return "", err
	}
	return l.Addr().String(), l.Close()
}

// validGrafana returns an error if the program is not there.
func validGrafana(program string) error {
	if program == "" {
		return nil
	}
	if _, err := exec.LookPath(program); err != nil {
		return fmt.Errorf("-grafana: %s; name the program, such as /usr/sbin/grafana", strings.TrimPrefix(err.Error(), "exec: "))
	}
	return nil
}
