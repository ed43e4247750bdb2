package servers

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Prometheus describes a Prometheus at addr with its data in dir. It scrapes the
// addresses of each job at an interval, and evaluates the rules of the given files.
func Prometheus(addr, dir string, every time.Duration, jobs map[string][]string, rules ...string) (*Server, error) {
	path, err := lookPath("prometheus", "prometheus")
	if err != nil {
		return nil, err
	}
	var c strings.Builder
	fmt.Fprintf(&c, "global: {scrape_interval: %v, scrape_timeout: %v, evaluation_interval: %v}\nrule_files: [%s]\nscrape_configs:\n", every, every, every, strings.Join(rules, ", "))
	for _, job := range slices.Sorted(maps.Keys(jobs)) {
		fmt.Fprintf(&c, "  - job_name: %s\n    static_configs: [{targets: [\"%s\"]}]\n", job, strings.Join(jobs[job], `", "`))
	}
	config := filepath.Join(dir, "prometheus.yml")
	if err := os.WriteFile(config, []byte(c.String()), 0o600); err != nil {
		return nil, err
	}
	return New(addr, path, "--config.file="+config, "--storage.tsdb.path="+filepath.Join(dir, "data"), "--web.listen-address="+addr, "--log.level=warn"), nil
}
