package switches

import (
	"encoding/json"
	"errors"
	"mime"
	"net/http"
)

// Handler serves, on the admin listener:
//
//	GET  /v1/switches   the objects in force
//	POST /v1/switches   adds a version of an object, as JSON
func (s *Switches) Handler() http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /v1/switches", func(w http.ResponseWriter, _ *http.Request) {
		all := s.List()
		if all == nil {
			all = []Object{}
		}
		answer(w, http.StatusOK, all)
	})
	mux.HandleFunc("POST /v1/switches", s.post)
	return mux
}

func (s *Switches) post(w http.ResponseWriter, r *http.Request) {
	// A browser does not send this type to another site without a preflight
	// request.
	if media, _, err := mime.ParseMediaType(r.Header.Get("Content-Type")); err != nil || media != "application/json" {
		answer(w, http.StatusUnsupportedMediaType, map[string]string{"error": "send Content-Type: application/json"})
		return
	}
	var o Object
	in := json.NewDecoder(http.MaxBytesReader(w, r.Body, maxObject))
	in.DisallowUnknownFields()
	if err := in.Decode(&o); err != nil {
		answer(w, http.StatusBadRequest, map[string]string{"error": err.Error()})
		return
	}
	added, err := s.Add(o)
	if err != nil && !errors.Is(err, ErrNotSaved) {
		answer(w, http.StatusConflict, map[string]string{"error": err.Error()})
		return
	}
	if told := s.tell(added.Object); told != nil {
		added.Warn("it is not in the audit: " + told.Error())
	}
	if err != nil {
		answer(w, http.StatusInternalServerError, map[string]string{"error": err.Error(), "warning": added.Warning})
		return
	}
	answer(w, http.StatusOK, added)
}

func (s *Switches) tell(o Object) error {
	if s.deps.Audit == nil {
		return errors.New("this gate writes no control records (gate.controls)")
	}
	return s.deps.Audit(o)
}

func answer(w http.ResponseWriter, status int, v any) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(v) // the client may be gone
}
