package demo

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/weirdev/weir/app/procs"
	"github.com/weirdev/weir/internal/facet"
	"github.com/weirdev/weir/internal/telemetry"
)

// nginxConf puts nginx in front of an API, as docs/gateways/nginx.md does.
//
//go:embed nginx.conf
var nginxConf string

// front is a real gateway in front of a small API. It asks the gate about each
// request.
type front struct {
	nginx  *procs.Child
	api    *http.Server
	served atomic.Int64 // requests that reached the API
	dir    string
	base   string // URL of nginx
	client *http.Client
}

// frontKinds are the entities that requests through the front carry, by header.
func frontKinds() map[facet.Kind]string {
	return map[facet.Kind]string{
		facet.IP: "X-Demo-Ip", facet.Account: "X-Demo-Account", facet.Device: "X-Demo-Device", facet.Session: "X-Demo-Session", facet.Token: "X-Demo-Token", facet.JA4: "X-Demo-Ja4",
	}
}

// frontSources tell the gate where the front has the entities.
func frontSources() []string {
	all := []string{"tenant=header:x-demo-tenant"}
	for k, h := range frontKinds() {
		if k != facet.IP { // nginx passes it on as the client's address
			all = append(all, k.String()+"=header:"+strings.ToLower(h))
		}
	}
	return all
}

// findNginx returns the path of nginx; "" if it is not installed.
func findNginx() string {
	for _, name := range []string{"nginx", "/usr/sbin/nginx"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	return ""
}

// startFront starts nginx in front of an API, with the gate at an address. It returns
// nil if nginx is not installed.
func startFront(ctx context.Context, gate string, log *slog.Logger) (f *front, err error) {
	path := findNginx()
	if path == "" {
		return nil, nil
	}
	f = &front{client: &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}}
	defer func() {
		if err != nil {
			err = errors.Join(err, f.close())
			f = nil
		}
	}()
	if f.dir, err = os.MkdirTemp("", "weir-demo-nginx-"); err != nil {
		return f, err
	}
	api, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return f, err
	}
	f.api = &http.Server{ReadHeaderTimeout: time.Second, ErrorLog: telemetry.ErrorLog(log), Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		f.served.Add(1)
		_, _ = io.WriteString(w, "served\n")
	})}
	go func() { _ = f.api.Serve(api) }() // ends when it is closed
	free, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return f, err
	}
	listen := free.Addr().String()
	if err := free.Close(); err != nil {
		return f, err
	}
	f.base = "http://" + listen
	text := strings.NewReplacer("LISTEN", listen, "GATE", gate, "API", api.Addr().String()).Replace(nginxConf)
	if err := os.WriteFile(filepath.Join(f.dir, "nginx.conf"), []byte(text), 0o600); err != nil {
		return f, err
	}
	var said strings.Builder
	if f.nginx, err = procs.Start(path, []string{"-p", f.dir, "-c", "nginx.conf", "-e", "error.log"}, nil, &said, syscall.SIGTERM); err != nil {
		return f, err
	}
	return f, f.await(ctx, &said)
}

// await waits until nginx answers.
func (f *front) await(ctx context.Context, said *strings.Builder) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		_, err := f.status(ctx, facet.Entity{Kind: facet.Account, Key: "nobody"})
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-f.nginx.Ended():
			return fmt.Errorf("nginx ended: %s", strings.TrimSpace(said.String()))
		case <-ctx.Done():
			return fmt.Errorf("nginx does not answer: %w", err)
		}
	}
}

// status sends a request of an entity through nginx, and returns the status of the
// answer; 0 if such entities cannot be sent.
func (f *front) status(ctx context.Context, e facet.Entity) (int, error) {
	header, ok := frontKinds()[e.Kind]
	if !ok {
		return 0, nil
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodGet, f.base+"/orders", nil)
	if err != nil {
		return 0, err
	}
	r.Header.Set(header, strings.TrimSuffix(e.Key, "/64"))
	r.Header.Set("X-Demo-Tenant", e.Tenant)
	res, err := f.client.Do(r)
	if err != nil {
		return 0, err
	}
	return res.StatusCode, res.Body.Close()
}

func (f *front) close() error {
	if f == nil {
		return nil
	}
	var errs []error
	if f.nginx != nil {
		_ = f.nginx.Stop(2 * time.Second) // how it ends says nothing
	}
	if f.api != nil {
		errs = append(errs, f.api.Close())
	}
	return errors.Join(append(errs, os.RemoveAll(f.dir))...)
}
