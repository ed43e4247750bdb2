package gateways

import (
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/weirdev/weir/proof/proxy"
	"github.com/weirdev/weir/proof/servers"
	"github.com/weirdev/weir/proof/testkit"
)

// gateway is a configuration from docs/gateways.
type gateway struct {
	name  string
	asks  string // how it asks the gate: http, spoe
	away  away
	tells bool // what became of requests
	start func(t *testing.T, w *world, between *proxy.Proxy, closed bool) (addr string)
}

func gateways() []gateway {
	return []gateway{
		{"nginx, auth_request", "http", away{500, 500, 500}, true, nginx("auth_request.conf")},
		{"nginx, njs", "http", away{503, 503, 503}, true, nginx("njs.conf", "weir.js")},
		{"Traefik", "http", away{502, 504, 503}, false, traefik},
		{"Caddy", "http", away{502, 504, 503}, true, caddy},
		{"Envoy, gRPC", "grpc", away{503, 503, 0}, true, envoy("grpc.yaml", "port_value: 8193")},
		{"Envoy, HTTP", "http", away{503, 503, 503}, true, envoy("http.yaml", "port_value: 8191")},
		{"HAProxy, SPOE", "spoe", away{503, 503, 0}, true, haproxySPOE},
		{"HAProxy, Lua", "http", away{503, 503, 503}, true, haproxyLua},
		{"Go", "http", away{503, 503, 503}, true, goService},
	}
}

// away is the status of requests that are refused because the gate is.
type away struct{ down, slow, fails int }

// TestTheTableSaysWhatWasSeen compares the table of all gateways with the statuses
// that are tested here.
func TestTheTableSaysWhatWasSeen(t *testing.T) {
	table := testkit.ReadPage(t, "docs/gateways/README.md").Text
	for _, g := range gateways() {
		_, row, _ := strings.Cut(table, "\n| "+g.name+" |")
		row, _, _ = strings.Cut(row, "\n")
		if want := fmt.Sprintf("| %d, %d |", g.away.down, g.away.slow); !strings.Contains(row, want) {
			t.Errorf("docs/gateways/README.md has no row of %s with %q: %s", g.name, want, row)
		}
	}
}

// page is a page of docs/gateways. Its configurations fail open; blocks of changes
// make them fail closed, or do more.
type page struct {
	testkit.Page
	with []string // which blocks are applied, of those that a configuration has
}

// Names of blocks of changes.
const (
	failClosed  = "to fail closed"
	itsLog      = "with its access log"
	outcomes    = "with outcomes"
	clientCerts = "with client certificates"
)

func (w *world) readPage(t *testing.T, name string, closed bool) page {
	t.Helper()
	p := page{testkit.ReadPage(t, "docs/gateways/"+name+".md"), w.with}
	if closed {
		p.with = append(slices.Clip(p.with), failClosed)
	}
	return p
}

// config returns the file of a page whose first line ends in name, with its changes,
// and with its addresses replaced: pairs of what the page has, and what it
// is here.
func (p page) config(t *testing.T, name string, addresses ...string) string {
	t.Helper()
	text, found := p.named(name)
	if !found {
		t.Fatalf("the page has no block that begins with %q", name)
	}
	for _, what := range p.with {
		if changes, found := p.named(name + ", " + what); found {
			text = change(t, text, changes)
		}
	}
	for i := 0; i < len(addresses); i += 2 {
		if !strings.Contains(text, addresses[i]) {
			t.Fatalf("%s does not contain %s", name, addresses[i])
		}
	}
	return strings.NewReplacer(addresses...).Replace(text)
}

// toLog adds the address that takes logs to pairs of addresses, where the page's
// configuration writes one.
func (w *world) toLog(addresses ...string) []string {
	if slices.Contains(w.with, outcomes) {
		addresses = append(addresses, "127.0.0.1:8194", w.log)
	}
	return addresses
}

// named returns the block whose first line is a comment that ends in name, as in
// /etc/nginx/NAME. Changes may be of two files: ONE and OTHER, WHAT.
func (p page) named(name string) (text string, found bool) {
	file, what, _ := strings.Cut(name, ", ")
	for i, part := range strings.Split(p.Text, "```") {
		_, text, _ := strings.Cut(part, "\n") // the first line has the language
		first, _, _ := strings.Cut(text, "\n")
		switch {
		case i%2 == 0:
		case strings.HasSuffix(first, "/"+name), strings.HasSuffix(first, " "+name):
			return text, true
		case what != "" && strings.HasPrefix(first, "# "+file+" and ") && strings.HasSuffix(first, ", "+what):
			return text, true
		}
	}
	return "", false
}

// change applies the changes of a block: lines with a minus are replaced by the
// lines with a plus that follow them.
func change(t *testing.T, text, changes string) string {
	t.Helper()
	var from, to strings.Builder
	flush := func() {
		if from.Len() == 0 {
			return
		}
		if strings.Count(text, from.String()) != 1 {
			t.Fatalf("these lines are not in the configuration once:\n%s", from.String())
		}
		text = strings.Replace(text, from.String(), to.String(), 1)
		from.Reset()
		to.Reset()
	}
	for line := range strings.Lines(changes) {
		switch line[0] {
		case '-':
			if to.Len() > 0 {
				flush()
			}
			from.WriteString(line[1:])
		case '+':
			to.WriteString(line[1:])
		default:
			flush()
		}
	}
	flush()
	return text
}

// nginx includes the named files of the page as nginx's own configuration does.
func nginx(conf string, scripts ...string) func(*testing.T, *world, *proxy.Proxy, bool) string {
	return func(t *testing.T, w *world, between *proxy.Proxy, closed bool) string {
		p := w.readPage(t, "nginx", closed)
		return testkit.Web(t, func(addr, dir string) (*servers.Server, error) {
			text := w.certificates.Replace(p.config(t, conf, w.toLog("listen 8080", "listen "+addr, "127.0.0.1:8000", w.api, "127.0.0.1:8191", between.Addr())...))
			load := ""
			for _, name := range scripts {
				module, err := servers.NginxModule("http_js", "libnginx-mod-http-js")
				if err != nil {
					return nil, err
				}
				load = "load_module " + module + ";"
				text = strings.ReplaceAll(text, "/etc/nginx/"+name, filepath.Join(dir, name))
				write(t, dir, name, p.config(t, name))
			}
			write(t, dir, conf, text)
			user := ""
			if os.Getuid() == 0 {
				user = "user root;"
			}
			return servers.Nginx(addr, dir, fmt.Sprintf(`
%s
%s
worker_processes 1;
pid nginx.pid;
error_log error.log;
events { worker_connections 256; }
http {
  access_log off;
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  include %s;
}
`, user, load, conf))
		}).Addr
	}
}

func traefik(t *testing.T, w *world, between *proxy.Proxy, closed bool) string {
	p := w.readPage(t, "traefik", closed)
	ask, open := free(t), free(t)
	return testkit.Web(t, func(addr, dir string) (*servers.Server, error) {
		write(t, dir, "dynamic.yaml", w.certificates.Replace(p.config(t, "dynamic.yaml", "127.0.0.1:8000", w.api, "127.0.0.1:8191", between.Addr(), "127.0.0.1:8192", ask, "127.0.0.1:8193", open)))
		return servers.Traefik(addr, dir, p.config(t, "traefik.yaml", ":8080", addr, "127.0.0.1:8192", ask, "127.0.0.1:8193", open, "/etc/traefik", dir)+`
global: {checkNewVersion: false, sendAnonymousUsage: false}
log: {level: ERROR}
`)
	}).Addr
}

func caddy(t *testing.T, w *world, between *proxy.Proxy, closed bool) string {
	p := w.readPage(t, "caddy", closed)
	return testkit.Web(t, func(addr, dir string) (*servers.Server, error) {
		_, port, err := net.SplitHostPort(addr)
		if err != nil {
			return nil, err
		}
		site := "http://:" + port + " {"
		if slices.Contains(w.with, clientCerts) {
			site = ":" + port + " {"
		}
		return servers.Caddy(addr, dir, fmt.Sprintf(`
{
  admin off
  auto_https off
  persist_config off
  storage file_system %s
  default_bind 127.0.0.1
}
`, dir)+w.certificates.Replace(p.config(t, "Caddyfile", w.toLog(":8080 {", site, "127.0.0.1:8000", w.api, "127.0.0.1:8191", between.Addr())...)))
	}).Addr
}

// envoy runs a file of the page, in which addresses are in two parts.
func envoy(name, gate string) func(*testing.T, *world, *proxy.Proxy, bool) string {
	return func(t *testing.T, w *world, between *proxy.Proxy, closed bool) string {
		p := w.readPage(t, "envoy", closed)
		port := func(addr string) string { return "port_value: " + addr[strings.LastIndexByte(addr, ':')+1:] }
		return testkit.Web(t, func(addr, dir string) (*servers.Server, error) {
			addresses := []string{"0.0.0.0", "127.0.0.1", "port_value: 8080", port(addr), "port_value: 8000", port(w.api), gate, port(between.Addr())}
			if log := "port_value: 8193"; slices.Contains(w.with, itsLog) && log != gate {
				addresses = append(addresses, log, port(w.gate["grpc"]))
			}
			return servers.Envoy(addr, dir, w.certificates.Replace(p.config(t, name, addresses...)))
		}).Addr
	}
}

func haproxySPOE(t *testing.T, w *world, between *proxy.Proxy, closed bool) string {
	p := w.readPage(t, "haproxy", closed)
	return testkit.Web(t, func(addr, dir string) (*servers.Server, error) {
		write(t, dir, "spoe.cfg", p.config(t, "spoe.cfg"))
		return servers.HAProxy(addr, dir, strings.ReplaceAll(w.certificates.Replace(p.config(t, "haproxy.cfg", "bind :8080", "bind "+addr, "127.0.0.1:8000", w.api, "127.0.0.1:8192", between.Addr())), "/etc/haproxy", dir))
	}).Addr
}

func haproxyLua(t *testing.T, w *world, between *proxy.Proxy, closed bool) string {
	p := w.readPage(t, "haproxy", closed)
	return testkit.Web(t, func(addr, dir string) (*servers.Server, error) {
		socket := "abns@" + addr // any name that no other HAProxy has
		write(t, dir, "weir.lua", p.config(t, "weir.lua", "abns@weir_gate", socket))
		return servers.HAProxy(addr, dir, strings.ReplaceAll(w.certificates.Replace(p.config(t, "lua.cfg", w.toLog("bind :8080", "bind "+addr, "127.0.0.1:8000", w.api, "127.0.0.1:8191", between.Addr(), "abns@weir_gate", socket)...)), "/etc/haproxy", dir))
	}).Addr
}

// goService runs the program of the page, which has its addresses as flags.
func goService(t *testing.T, w *world, between *proxy.Proxy, closed bool) string {
	return testkit.Web(t, func(addr, _ string) (*servers.Server, error) {
		program, err := w.buildService(t)
		return servers.New(addr, program, "-listen", addr, "-api", "http://"+w.api, "-gate", "http://"+between.Addr(), fmt.Sprintf("-closed=%t", closed), fmt.Sprintf("-outcomes=%t", slices.Contains(w.with, itsLog))), err
	}).Addr
}

// buildService builds the program of the page once.
func (w *world) buildService(t *testing.T) (program string, err error) {
	t.Helper()
	if w.service != "" {
		return w.service, nil
	}
	write(t, w.dir, "main.go", w.readPage(t, "go", false).config(t, "main.go", "/users/{id}", "/guarded"))
	program = filepath.Join(w.dir, "service")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-o", program, filepath.Join(w.dir, "main.go")).CombinedOutput(); err != nil {
		return "", fmt.Errorf("%w: %s", err, out)
	}
	w.service = program
	return program, nil
}

// free returns an address that nobody listens at.
func free(t *testing.T) string {
	t.Helper()
	addr, err := servers.FreeAddr()
	if err != nil {
		t.Fatal(err)
	}
	return addr
}

func write(t *testing.T, dir, name, text string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
}
