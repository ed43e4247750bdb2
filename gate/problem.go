package gate

import (
	"encoding/json"
	"net/http"
)

// problem is an error as in RFC 9457. Codes are a closed set, used as metric
// labels.
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail,omitempty"`
}

const problemSpace = "urn:weir:problem:"

func (g *Gate) refuse(w http.ResponseWriter, status int, code, title, detail string) {
	g.metrics.refused.WithLabelValues(code).Inc()
	w.Header().Set("Content-Type", "application/problem+json")
	send(w, status, problem{Type: problemSpace + code, Title: title, Status: status, Detail: detail})
}

// send writes v as JSON that no proxy may cache.
func send(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil { // a programming error: all values are our own
		status, body = http.StatusInternalServerError, []byte("{}")
	}
	write(w, status, body)
}

// Values of headers, shared by all answers: nobody changes them.
var (
	ofJSON  = []string{"application/json"}
	noStore = []string{"no-store"}
	noSniff = []string{"nosniff"}
)

// write answers with a body.
func write(w http.ResponseWriter, status int, body []byte) {
	h := w.Header()
	if h["Content-Type"] == nil {
		h["Content-Type"] = ofJSON
	}
	h["Cache-Control"], h["X-Content-Type-Options"] = noStore, noSniff
	w.WriteHeader(status)
	_, _ = w.Write(append(body, '\n')) // the client may be gone
}
