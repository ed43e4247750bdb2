package weblogs

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/weirdev/weir/event"
	"github.com/weirdev/weir/proof/servers"
)

// server is a web server with its logs.
type server struct {
	name     string
	describe func(addr, dir string) (*servers.Server, error)
	logs     []log
	quirks
}

// log is one log file of a server.
type log struct {
	file     string
	format   string                // format for reading it
	lacks    []event.Field         // fields that the log does not contain
	rewrites map[string]func(*ask) // additional rewrites for this log
}

func (l log) name() string { return l.file + " as " + l.format }

func (l log) holds(f event.Field) bool { return !slices.Contains(l.lacks, f) }

// docs returns the block of docs/formats.md that contains what: the configuration
// that users copy.
func docs(t *testing.T, what string) string {
	t.Helper()
	page, err := os.ReadFile("../../../docs/formats.md")
	if err != nil {
		t.Fatal(err)
	}
	for i, b := range strings.Split(string(page), "```") {
		if i%2 == 1 && strings.Contains(b, what) {
			_, text, _ := strings.Cut(b, "\n")
			return text
		}
	}
	t.Fatalf("docs/formats.md has no block with %q", what)
	return ""
}

func indent(text, by string) string {
	return by + strings.ReplaceAll(strings.TrimSpace(text), "\n", "\n"+by)
}

// user returns the line with the user for worker processes; without root's rights it
// is empty.
func user(line string) string {
	if os.Getuid() != 0 {
		return ""
	}
	return line
}

func nginx(t *testing.T, behind string) func(addr, dir string) (*servers.Server, error) {
	format := strings.ReplaceAll(docs(t, "log_format weir"), "/var/log/nginx/", "")
	return func(addr, dir string) (*servers.Server, error) {
		return servers.Nginx(addr, dir, fmt.Sprintf(`
%s
worker_processes 1;
pid nginx.pid;
error_log error.log;
events { worker_connections 256; }
http {
  client_body_temp_path body; proxy_temp_path proxy; fastcgi_temp_path fastcgi; uwsgi_temp_path uwsgi; scgi_temp_path scgi;
  access_log combined.log;
  log_format vhost '$host:$server_port $remote_addr - $remote_user [$time_local] "$request" '
                   '$status $body_bytes_sent "$http_referer" "$http_user_agent"';
  access_log vhost.log vhost;
  log_format main '$remote_addr - $remote_user [$time_local] "$request" '
                  '$status $body_bytes_sent "$http_referer" '
                  '"$http_user_agent" "$http_x_forwarded_for"';
  access_log main.log main;
%s
  server {
    listen %s;
    location / { return 200 "ok\n"; }
    location = /slow { proxy_pass http://%s; }
  }
}
`, user("user root;"), format, addr, behind))
	}
}

func apache(_ *testing.T, behind string) func(addr, dir string) (*servers.Server, error) {
	return func(addr, dir string) (*servers.Server, error) {
		var modules strings.Builder
		for _, m := range []string{"mpm_event", "authz_core", "status", "proxy", "proxy_http", "reqtimeout"} {
			fmt.Fprintf(&modules, "LoadModule %s_module /usr/lib/apache2/modules/mod_%s.so\n", m, m)
		}
		return servers.Apache(addr, dir, fmt.Sprintf(`
%s
%s
ServerRoot %s
DefaultRuntimeDir %s
PidFile httpd.pid
Listen %s
ServerName shop.example:8000
ErrorLog error.log
LogFormat "%%v:%%p %%h %%l %%u %%t \"%%r\" %%>s %%O \"%%{Referer}i\" \"%%{User-Agent}i\"" vhost_combined
LogFormat "%%h %%l %%u %%t \"%%r\" %%>s %%O \"%%{Referer}i\" \"%%{User-Agent}i\"" combined
LogFormat "%%h %%l %%u %%t \"%%r\" %%>s %%O" common
GlobalLog combined.log combined
GlobalLog vhost.log vhost_combined
GlobalLog common.log common
<VirtualHost *>
  ServerName shop.example:8000
</VirtualHost>
<VirtualHost *>
  ServerName api.example:8000
</VirtualHost>
<Location "/">
  SetHandler server-status
</Location>
<Location "/slow">
  ProxyPass "http://%s/slow" timeout=1
</Location>
`, user("User nobody\nGroup nogroup"), modules.String(), dir, dir, addr, behind))
	}
}

func traefik(t *testing.T, behind, format string) func(addr, dir string) (*servers.Server, error) {
	accessLog := docs(t, "accessLog:")
	return func(addr, dir string) (*servers.Server, error) {
		accessLog := strings.ReplaceAll(accessLog, "/var/log/traefik", dir)
		accessLog = strings.ReplaceAll(accessLog, "format: json", "format: "+format)
		dynamic := filepath.Join(dir, "dynamic.yaml")
		if err := os.WriteFile(dynamic, fmt.Appendf(nil, `
http:
  routers: {all: {rule: "PathPrefix(%s)", service: all, entryPoints: [web]}}
  services: {all: {loadBalancer: {servers: [{url: "http://%s"}]}}}
`, "`/`", behind), 0o600); err != nil {
			return nil, err
		}
		return servers.Traefik(addr, dir, fmt.Sprintf(`
global: {checkNewVersion: false, sendAnonymousUsage: false}
log: {level: ERROR}
entryPoints: {web: {address: "%s", forwardedHeaders: {trustedIPs: [127.0.0.0/8]}}}
providers: {file: {filename: "%s"}}
%s
`, addr, dynamic, accessLog))
	}
}

func caddy(t *testing.T, behind string) func(addr, dir string) (*servers.Server, error) {
	_, site, _ := strings.Cut(docs(t, "/var/log/caddy/"), "{\n")
	site = strings.TrimSuffix(strings.TrimSpace(site), "}")
	return func(addr, dir string) (*servers.Server, error) {
		_, port, err := net.SplitHostPort(addr)
		if err != nil {
			return nil, err
		}
		return servers.Caddy(addr, dir, fmt.Sprintf(`
{
  admin off
  auto_https off
  persist_config off
  storage file_system %s
}
http://:%s {
  bind 127.0.0.1
%s
  handle /slow {
    reverse_proxy %s
  }
  respond "ok"
}
`, dir, port, strings.ReplaceAll(site, "/var/log/caddy", dir), behind))
	}
}

// gatewayLog is Envoy Gateway's default log format.
const gatewayLog = `
- name: envoy.access_loggers.file
  typed_config:
    "@type": type.googleapis.com/envoy.extensions.access_loggers.file.v3.FileAccessLog
    path: /var/log/envoy/gateway.json
    log_format:
      json_format:
        start_time: "%START_TIME%"
        method: "%REQ(:METHOD)%"
        x-envoy-origin-path: "%REQ(X-ENVOY-ORIGINAL-PATH?:PATH)%"
        protocol: "%PROTOCOL%"
        response_code: "%RESPONSE_CODE%"
        response_flags: "%RESPONSE_FLAGS%"
        response_code_details: "%RESPONSE_CODE_DETAILS%"
        connection_termination_details: "%CONNECTION_TERMINATION_DETAILS%"
        upstream_transport_failure_reason: "%UPSTREAM_TRANSPORT_FAILURE_REASON%"
        bytes_received: "%BYTES_RECEIVED%"
        bytes_sent: "%BYTES_SENT%"
        duration: "%DURATION%"
        x-envoy-upstream-service-time: "%RESP(X-ENVOY-UPSTREAM-SERVICE-TIME)%"
        x-forwarded-for: "%REQ(X-FORWARDED-FOR)%"
        user-agent: "%REQ(USER-AGENT)%"
        x-request-id: "%REQ(X-REQUEST-ID)%"
        ":authority": "%REQ(:AUTHORITY)%"
        upstream_host: "%UPSTREAM_HOST%"
        upstream_cluster: "%UPSTREAM_CLUSTER_RAW%"
        upstream_local_address: "%UPSTREAM_LOCAL_ADDRESS%"
        downstream_local_address: "%DOWNSTREAM_LOCAL_ADDRESS%"
        downstream_remote_address: "%DOWNSTREAM_REMOTE_ADDRESS%"
        requested_server_name: "%REQUESTED_SERVER_NAME%"
        route_name: "%ROUTE_NAME%"
`

func envoy(t *testing.T, behind string) func(addr, dir string) (*servers.Server, error) {
	_, documented, _ := strings.Cut(docs(t, "json_format:"), "access_log:\n")
	return envoyWith(behind, documented, false)
}

// envoyGateway returns an Envoy with the configuration of Envoy Gateway.
func envoyGateway(behind string) func(addr, dir string) (*servers.Server, error) {
	return envoyWith(behind, gatewayLog, true)
}

func envoyWith(behind, logs string, useRemoteAddress bool) func(addr, dir string) (*servers.Server, error) {
	return func(addr, dir string) (*servers.Server, error) {
		_, port, err := net.SplitHostPort(addr)
		if err != nil {
			return nil, err
		}
		behindHost, behindPort, err := net.SplitHostPort(behind)
		if err != nil {
			return nil, err
		}
		logs := strings.ReplaceAll(logs, "/var/log/envoy", dir)
		return servers.Envoy(addr, dir, fmt.Sprintf(`
static_resources:
  listeners:
  - address: {socket_address: {address: 127.0.0.1, port_value: %s}}
    filter_chains:
    - filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          "@type": type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: web
          delayed_close_timeout: 0.02s
          use_remote_address: %t
          http_protocol_options: {accept_http_10: true}
          access_log:
%s
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {"@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router}
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
              - match: {prefix: /}
                route: {cluster: behind}
  clusters:
  - name: behind
    load_assignment:
      cluster_name: behind
      endpoints: [{lb_endpoints: [{endpoint: {address: {socket_address: {address: %s, port_value: %s}}}}]}]
`, port, useRemoteAddress, indent(logs, "          "), behindHost, behindPort))
	}
}
