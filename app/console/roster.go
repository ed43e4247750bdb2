package console

import (
	"context"
	"crypto/sha256"
	"log/slog"
	"slices"
	"sync/atomic"
	"time"

	"github.com/weirdev/weir/internal/edited"
)

// lookEvery is the interval between two looks at the file of users. A change counts
// within a second.
const lookEvery = 500 * time.Millisecond

// Roster says who may sign in with a token now. It is safe for concurrent use.
type Roster struct {
	path    string // "": the list stays as it is
	log     *slog.Logger
	current atomic.Pointer[Users]

	file  *edited.File // used by Run only, as is wrong
	wrong string       // with the file as it is now; "" if it is in force
}

// NewRoster returns a list that stays as it is.
func NewRoster(users Users) *Roster {
	r := &Roster{}
	r.current.Store(&users)
	return r
}

// WatchUsers reads a file of users. It starts nothing: [Roster.Run] looks for changes.
func WatchUsers(path string, log *slog.Logger) (*Roster, error) {
	text, err := readUsers(path)
	if err != nil {
		return nil, err
	}
	users, err := parseUsersFile(path, text)
	if err != nil {
		return nil, err
	}
	r := NewRoster(users)
	r.path, r.log = path, log
	r.file = edited.New(text, func() ([]byte, error) { return readUsers(path) })
	return r, nil
}

// Current returns the users.
func (r *Roster) Current() Users { return *r.current.Load() }

// Run looks at the file until ctx ends. While the file cannot be used, those who may
// sign in stay.
func (r *Roster) Run(ctx context.Context) error {
	if r.path == "" {
		<-ctx.Done()
		return nil
	}
	edited.Every(ctx, lookEvery, r.look)
	return nil
}

// look reads the file once. It reports what is wrong only once.
func (r *Roster) look() {
	text, changed, err := r.file.Look()
	if err == nil && !changed {
		return
	}
	var users Users
	if err == nil {
		users, err = parseUsersFile(r.path, text)
	}
	if err != nil {
		if r.wrong != err.Error() {
			r.log.Error("console: the file of users is not used; those who may sign in stay", "users", len(r.Current()), "error", err)
		}
		r.wrong = err.Error()
		return
	}
	r.wrong = ""
	before := r.current.Swap(&users)
	r.log.Info("console: users changed", "users", len(users), "before", len(*before))
}

// has reports whether somebody who has signed in may go on: with the same token and
// role, or without a token, by a provider.
func (r *Roster) has(u User) bool {
	return u.hash == [sha256.Size]byte{} || slices.Contains(r.Current(), u)
}
