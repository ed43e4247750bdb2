package telemetry

import "regexp"

const hidden = "REDACTED"

var (
	// userinfo matches the part before the @ of a URL, or of
	// user:password@host:port.
	userinfo = regexp.MustCompile(`([a-zA-Z][a-zA-Z0-9+.-]*://)[^\s"',]+@|\b[^\s/@"'=,;:]+:[^\s/@"',;]+@([a-zA-Z0-9.\[\]:-]+:[0-9]+)`)
	// parameter matches a parameter of a URL or connection string whose name
	// implies a secret.
	parameter = regexp.MustCompile(`(?i)([?&;][a-z0-9_.-]*(?:secret|password|passwd|token|credential|access_?key|api_?key|signature)[a-z0-9_.-]*=)[^&;\s"']+`)
)

// HideSecrets replaces credentials in URLs and addresses: users with their
// passwords, and parameters whose names imply a secret.
func HideSecrets(text string) string {
	text = userinfo.ReplaceAllString(text, "${1}"+hidden+"@$2")
	return parameter.ReplaceAllString(text, "${1}"+hidden)
}
