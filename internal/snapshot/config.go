package snapshot

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
)

// Config names the store.
type Config struct {
	URL     string `yaml:"url" doc:"store for snapshots of detect's state, and for the epochs of ingest with their databases: file:///var/lib/weir/snapshots or s3://BUCKET?region=REGION&prefix=weir/; empty: no store, so a starting worker replays the whole facet log, and a successor after an unclean shutdown uses its own rules and data"`
	Lineage uint32 `yaml:"lineage" doc:"raise it with every declared loss (detect.accept_loss), so that snapshots from before the loss are not used after it"`
}

// Validate reports all errors in c.
func (c Config) Validate() error {
	if c.URL == "" {
		return nil
	}
	_, err := c.parse()
	return err
}

// parse parses the URL. It does not allow secrets in it, because it would be
// printed with them.
func (c Config) parse() (*url.URL, error) {
	u, err := url.Parse(c.URL)
	if err != nil {
		// The error does not repeat the text, which may contain a misplaced
		// password.
		return nil, errors.New("snapshots.url: not a URL such as file:///DIR or s3://BUCKET?region=REGION")
	}
	switch {
	case u.User != nil:
		return nil, errors.New("snapshots.url: holds a user or password; give credentials in AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or by a role")
	case u.Scheme == "file":
		return u, checkFile(u)
	case u.Scheme == "s3":
		return u, checkS3(u)
	}
	if u.Scheme == "" {
		return nil, errors.New("snapshots.url: it has no scheme; write file:///DIR or s3://BUCKET?region=REGION")
	}
	return nil, fmt.Errorf("snapshots.url: %q is neither file nor s3", u.Scheme)
}

func checkFile(u *url.URL) error {
	if u.Host != "" || !strings.HasPrefix(u.Path, "/") || u.RawQuery != "" {
		return errors.New("snapshots.url: a directory is given as file:///its/absolute/path")
	}
	return nil
}

// s3Settings are the parameters that an s3:// URL may have. All others, which could
// be secrets or typing errors, are refused.
const s3Settings = " region endpoint use_path_style disable_https prefix profile accelerate dualstack fips anonymous "

func checkS3(u *url.URL) error {
	if u.Host == "" || strings.Trim(u.Path, "/") != "" {
		return errors.New("snapshots.url: a bucket is given as s3://BUCKET; folders go into ?prefix=")
	}
	for name := range u.Query() {
		if !strings.Contains(s3Settings, " "+name+" ") {
			return fmt.Errorf("snapshots.url: there is no setting %q; possible are%s", name, strings.TrimRight(s3Settings, " "))
		}
	}
	if p := u.Query().Get("prefix"); p != "" && !strings.HasSuffix(p, "/") {
		return errors.New("snapshots.url: prefix ends with a slash")
	}
	return nil
}
