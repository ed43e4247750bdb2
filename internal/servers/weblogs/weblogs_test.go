package weblogs

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/weirdev/weir/internal/servers"
	"github.com/weirdev/weir/internal/testkit"
)

func TestProto(t *testing.T) {
	b := newBackend(t)
	for _, s := range []struct {
		name  string
		d     func(addr, dir string) (*servers.Server, error)
		files []string
	}{
		{"nginx", nginx(t, b.addr()), []string{"combined.log", "vhost.log", "main.log", "weir.json"}},
		{"apache", apache(t, b.addr()), []string{"combined.log", "vhost.log", "common.log"}},
		{"traefik", traefik(t, b.addr(), "json"), []string{"weir.json"}},
		{"traefik-clf", traefik(t, b.addr(), "common"), []string{"weir.json"}},
		{"caddy", caddy(t, b.addr()), []string{"weir.json"}},
		{"envoy", envoy(t, b.addr()), []string{"weir.json", "gateway.json"}},
	} {
		t.Run(s.name, func(t *testing.T) {
			dir := t.TempDir()
			web := testkit.Web(t, func(addr, _ string) (*servers.Server, error) { return s.d(addr, dir) })
			out := "/tmp/rs-proto/" + s.name
			os.MkdirAll(out, 0o755)
			f, _ := os.Create(out + "/answers")
			for i, x := range exchanges() {
				start := time.Now()
				st := b.send(t, web.Addr, i, x)
				fmt.Fprintf(f, "%s %s: %v %v\n", client(i), x.name, st, time.Since(start).Round(time.Millisecond))
			}
			f.Close()
			web.Stop(t)
			for _, l := range s.files {
				data, err := os.ReadFile(filepath.Join(dir, l))
				if err != nil {
					t.Error(err)
				}
				os.WriteFile(out+"/"+l, data, 0o644)
			}
		})
	}
}
