package console

import (
	"context"
	"crypto/tls"
	"embed"
	"errors"
	"fmt"
	"html/template"
	"io/fs"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"syscall"
	"time"

	"github.com/ClickHouse/clickhouse-go/v2/lib/driver"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/weirdev/weir/app/dead"
	"github.com/weirdev/weir/engine"
	"github.com/weirdev/weir/gate/switches"
	"github.com/weirdev/weir/ingest"
	"github.com/weirdev/weir/internal/telemetry"
	"github.com/weirdev/weir/rules"
	"github.com/weirdev/weir/score"
)

// Scores looks up what is stored about entities now. [redis.Reader] does.
type Scores interface {
	Fetch(ctx context.Context, keys []string) (values []score.Value, bad []bool, err error)
	Codec() *score.Codec
}

// Switches reads and sets what operators say by hand.
type Switches interface {
	List(ctx context.Context) ([]switches.Object, error)
	// Put sets an object now; it ends after as long as it says.
	Put(ctx context.Context, o switches.Object) (switches.Added, error)
}

// Letters reads dead letters.
type Letters interface {
	// Last returns the newest letters, the newest first, at most n of each partition.
	Last(ctx context.Context, n int) ([]dead.Letter, error)
}

// Dependencies are the parts that a console uses. Those that are nil are said to be
// away.
type Dependencies struct {
	ClickHouse driver.Conn // refers to the database of the views, and only reads
	Scores     Scores
	Switches   Switches
	Letters    Letters
	Controls   Controls
	Rules      *RuleBook // nil: no rule is known
	Explain    Explain
	Users      *Roster // nil: nobody may sign in with a token
	Logger     *slog.Logger
	Registerer prometheus.Registerer // nil: not registered
	Now        func() time.Time      // nil: the clock
}

// Explain says how stored events become events for rules again.
type Explain struct {
	Ingest ingest.Config
	Places ingest.Places
	Detect engine.Config
}

//go:embed templates/*.html
var templateFiles embed.FS

//go:embed static
var staticFiles embed.FS

// Server serves the pages.
type Server struct {
	cfg      Config
	deps     Dependencies
	log      *slog.Logger
	now      func() time.Time
	sessions *sessions
	pages    map[string]*template.Template
	running  chan struct{} // explanations under way
	metrics  *metrics
	oidc     *relying    // nil: people sign in with tokens only
	tls      *tls.Config // nil: in clear text
}

// New checks cfg and prepares the pages. It connects to nothing.
func New(cfg Config, deps Dependencies) (*Server, error) {
	if err := cfg.Validate(); err != nil {
		return nil, err
	}
	s := &Server{cfg: cfg, deps: deps, log: deps.Logger, now: deps.Now, running: make(chan struct{}, mostExplanations), metrics: newMetrics(deps.Registerer)}
	if s.log == nil {
		s.log = slog.New(slog.DiscardHandler)
	}
	if s.now == nil {
		s.now = time.Now
	}
	if s.deps.Rules == nil {
		s.deps.Rules = NewRuleBook(&rules.Set{})
	}
	if s.deps.Users == nil {
		s.deps.Users = NewRoster(nil)
	}
	s.sessions = newSessions(cfg.Session, s.now)
	var err error
	if cfg.OIDC.on() {
		if s.oidc, err = newRelying(cfg.OIDC, s.now); err != nil {
			return nil, err
		}
	}
	if cfg.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(cfg.CertFile, cfg.KeyFile)
		if err != nil {
			return nil, fmt.Errorf("console.cert_file %s, console.key_file %s: %w", cfg.CertFile, cfg.KeyFile, err)
		}
		s.tls = &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}, NextProtos: []string{"http/1.1"}}
	}
	s.pages, err = parsePages()
	return s, err
}

func parsePages() (map[string]*template.Template, error) {
	base, err := template.New("").Funcs(functions()).ParseFS(templateFiles, "templates/_*.html")
	if err != nil {
		return nil, fmt.Errorf("console: %w", err)
	}
	files, err := fs.Glob(templateFiles, "templates/[a-z]*.html")
	if err != nil {
		return nil, fmt.Errorf("console: %w", err)
	}
	pages := map[string]*template.Template{}
	for _, f := range files {
		t, err := template.Must(base.Clone()).ParseFS(templateFiles, f)
		if err != nil {
			return nil, fmt.Errorf("console: %w", err)
		}
		pages[strings.TrimSuffix(strings.TrimPrefix(f, "templates/"), ".html")] = t
	}
	return pages, nil
}

// Handler serves all pages.
func (s *Server) Handler() http.Handler {
	mux := http.NewServeMux()
	static, _ := fs.Sub(staticFiles, "static") // it exists
	mux.Handle("GET /static/", http.StripPrefix("/static/", cached(http.FileServerFS(static))))
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("ok\n")) })
	mux.HandleFunc("GET /sign-in", s.signInPage)
	mux.HandleFunc("POST /sign-in", s.signIn)
	mux.HandleFunc("POST /sign-out", s.signOut)
	if s.oidc != nil {
		mux.HandleFunc("GET /sign-in/oidc", s.leave)
		mux.HandleFunc("GET "+callbackPath, s.comeBack)
	}
	for pattern, p := range map[string]struct {
		role  Role
		serve func(*visit)
	}{
		"GET /{$}":       {Reader, s.overview},
		"GET /search":    {Reader, s.search},
		"GET /entity":    {Reader, s.entity},
		"GET /campaigns": {Reader, s.campaigns},
		"GET /rules":     {Reader, s.rules},
		"GET /rule":      {Reader, s.rule},
		"GET /decision":  {Reader, s.decision},
		"GET /event":     {Reader, s.event},
		"GET /switches":  {Reader, s.switches},
		"GET /why":       {Reader, s.why},
		"GET /dead":      {Analyst, s.dead},
		"GET /audit":     {Analyst, s.audit},
		"/": {Reader, func(v *visit) {
			v.fail(http.StatusNotFound, "There is no such page", "The address is wrong, or from another version. Start at the overview.")
		}},
	} {
		mux.Handle(pattern, s.signedIn(pattern, p.role, p.serve))
	}
	for pattern, p := range map[string]struct {
		role  Role
		serve func(*visit)
	}{
		"POST /entity/switch": {Analyst, s.setEntity},
		"POST /switch/clear":  {Analyst, s.clearSwitch},
		"POST /say":           {Analyst, s.say},
		"POST /rule/switch":   {Admin, s.setRule},
		"GET /except":         {Analyst, s.except},
	} {
		mux.Handle(pattern, s.signedIn(pattern, p.role, p.serve))
	}
	protected := http.NewCrossOriginProtection()
	protected.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		s.log.Warn("console: a request from another site was refused", "path", r.URL.Path, "origin", r.Header.Get("Origin"))
		s.plain(w, http.StatusForbidden, "The request came from another site", "Open the console in a window of its own, and repeat what you did there.")
	}))
	return headers(protected.Handler(http.MaxBytesHandler(mux, mostForm)))
}

const mostForm = 64 << 10 // bytes

// headers are those of every answer. Pages hold no script, and nothing from another
// server.
func headers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		if r.TLS != nil {
			h.Set("Strict-Transport-Security", "max-age=31536000")
		}
		next.ServeHTTP(w, r)
	})
}

func cached(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Cache-Control", "private, max-age=300")
		next.ServeHTTP(w, r)
	})
}

const cookieName = "weir_console"

// isSecure reports whether the browser speaks TLS, so that the cookie must not leave
// it otherwise. What a client says about a proxy can only harm the client.
func (s *Server) isSecure(r *http.Request) bool {
	return r.TLS != nil || s.cfg.BehindProxy && r.Header.Get("X-Forwarded-Proto") == "https"
}

func (s *Server) setCookie(w http.ResponseWriter, r *http.Request, value string, seconds int) {
	http.SetCookie(w, &http.Cookie{Name: cookieName, Value: value, Path: "/", MaxAge: seconds, HttpOnly: true, Secure: s.isSecure(r), SameSite: http.SameSiteStrictMode})
}

func (s *Server) session(r *http.Request) *session {
	c, err := r.Cookie(cookieName)
	if err != nil {
		return nil
	}
	one := s.sessions.of(c.Value)
	if one != nil && !s.deps.Users.has(one.user) {
		s.log.Info("console: a session ends, since its user or role is gone", "user", one.user.Name)
		s.sessions.end(c.Value)
		return nil
	}
	return one
}

// signedIn serves a page to people with a role at least, and asks all others to sign
// in. Requests that change something must hold the session's own token.
func (s *Server) signedIn(page string, role Role, serve func(*visit)) http.Handler {
	took := s.metrics.pages.WithLabelValues(page)
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		start := time.Now()
		defer func() { took.Observe(time.Since(start).Seconds()) }()
		one := s.session(r)
		if one == nil {
			to := "/sign-in"
			if r.Method == http.MethodGet && r.URL.RequestURI() != "/" {
				to += "?" + url.Values{"to": {r.URL.RequestURI()}}.Encode()
			}
			http.Redirect(w, r, to, http.StatusSeeOther)
			return
		}
		v := &visit{s: s, w: w, r: r, session: one, now: s.now()}
		if one.user.Role < role {
			s.log.Warn("console: refused for want of the role", "user", one.user.Name, "role", one.user.Role.String(), "path", r.URL.Path)
			v.fail(http.StatusForbidden, "You may not do this", fmt.Sprintf("It takes the role %s, and %s has the role %s. Roles stand in the settings of the console (console.users_file, console.oidc).", role, one.user.Name, one.user.Role))
			return
		}
		if r.Method != http.MethodGet && r.Method != http.MethodHead && r.PostFormValue("csrf") != one.csrf {
			v.fail(http.StatusForbidden, "The form has expired", "It belongs to an earlier sign-in. Load the page again, and repeat what you did there.")
			return
		}
		var err error
		if v.span, err = parseSpan(r.URL.Query(), v.now); err != nil {
			v.span, _ = parseSpan(nil, v.now)
			v.fail(http.StatusBadRequest, "The time is not understood", err.Error())
			return
		}
		serve(v)
	})
}

func (s *Server) signInPage(w http.ResponseWriter, r *http.Request) {
	if s.session(r) != nil {
		http.Redirect(w, r, "/", http.StatusSeeOther)
		return
	}
	s.render(w, http.StatusOK, "sign-in", s.signInView(localPath(r.URL.Query().Get("to")), ""))
}

type signInView struct {
	To, Problem string
	Provider    string // its host, where there is one
	Tokens      bool   // people may sign in with tokens
}

func (s *Server) signInView(to, problem string) *view {
	page := signInView{To: to, Problem: problem, Tokens: len(s.deps.Users.Current()) > 0}
	if s.oidc != nil {
		if u, err := url.Parse(s.cfg.OIDC.Issuer); err == nil {
			page.Provider = u.Host
		}
	}
	return &view{Title: "Sign in", Page: page}
}

func (s *Server) signIn(w http.ResponseWriter, r *http.Request) {
	to, from := localPath(r.PostFormValue("to")), peer(r)
	refuse := func(status int, problem string) {
		s.render(w, status, "sign-in", s.signInView(to, problem))
	}
	if !s.sessions.mayTry(from) {
		w.Header().Set("Retry-After", "60")
		s.metrics.signIns.WithLabelValues(outcomeRefused).Inc()
		refuse(http.StatusTooManyRequests, "There were too many attempts with a wrong token from your address. Wait a minute.")
		return
	}
	u, ok := s.deps.Users.Current().find(strings.TrimSpace(r.PostFormValue("token")))
	if !ok {
		s.sessions.failed(from)
		s.metrics.signIns.WithLabelValues(outcomeFailed).Inc()
		s.log.Warn("console: a sign-in failed", "from", from.String())
		refuse(http.StatusUnauthorized, "Nobody has this token. Check that all of it was copied; whoever runs the console has the list (console.users_file).")
		return
	}
	s.metrics.signIns.WithLabelValues(outcomeDone).Inc()
	s.log.Info("console: signed in", "user", u.Name, "role", u.Role.String(), "from", from.String())
	s.setCookie(w, r, s.sessions.begin(u), int(s.cfg.Session/time.Second))
	http.Redirect(w, r, to, http.StatusSeeOther)
}

func (s *Server) signOut(w http.ResponseWriter, r *http.Request) {
	one := s.session(r)
	if one != nil && r.PostFormValue("csrf") == one.csrf {
		if c, err := r.Cookie(cookieName); err == nil {
			s.sessions.end(c.Value)
		}
		s.log.Info("console: signed out", "user", one.user.Name)
		s.setCookie(w, r, "", -1)
	}
	http.Redirect(w, r, "/sign-in", http.StatusSeeOther)
}

// localPath returns a path of this console to go to; / for everything else.
func localPath(to string) string {
	u, err := url.Parse(to)
	if err != nil || u.IsAbs() || u.Host != "" || !strings.HasPrefix(to, "/") || strings.HasPrefix(to, "//") || strings.ContainsAny(to, "\\\r\n\t") {
		return "/"
	}
	return to
}

// peer returns the address that a request came from.
func peer(r *http.Request) netip.Addr {
	a, err := netip.ParseAddrPort(r.RemoteAddr)
	if err != nil {
		return netip.IPv4Unspecified()
	}
	return a.Addr()
}

// Listen opens the address of the configuration.
func (s *Server) Listen(ctx context.Context) (net.Listener, error) {
	l, err := (&net.ListenConfig{}).Listen(ctx, "tcp", s.cfg.Listen)
	if err != nil {
		if errors.Is(err, syscall.EADDRINUSE) {
			return nil, fmt.Errorf("console.listen: %w: end the program that has it, or set another address", err)
		}
		return nil, fmt.Errorf("console.listen: %w", err)
	}
	if s.tls != nil {
		l = tls.NewListener(l, s.tls)
	}
	return l, nil
}

// Serve answers on l until ctx ends, then completes open requests.
func (s *Server) Serve(ctx context.Context, l net.Listener) error {
	err := telemetry.Serve(ctx, l, s.Handler(), s.log)
	if errors.Is(err, http.ErrServerClosed) {
		return nil
	}
	return err
}
