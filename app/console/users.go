package console

import (
	"bufio"
	"bytes"
	"crypto/rand"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"os"
	"regexp"
	"strings"
)

// Role says what a person may do. Each role may do what the one before it may.
type Role uint8

// The roles.
const (
	Reader  Role = iota + 1 // sees everything but dead letters, which hold raw records
	Analyst                 // acts on entities
	Admin                   // turns off rules, and ends switches
)

var roleNames = map[string]Role{"reader": Reader, "analyst": Analyst, "admin": Admin}

// String returns the role's name in the file of users.
func (r Role) String() string {
	for name, role := range roleNames {
		if role == r {
			return name
		}
	}
	return "unknown"
}

// User is a person, or a program, that may sign in.
type User struct {
	Name string
	Role Role

	hash [sha256.Size]byte // of the token
}

// Users lists who may sign in. Names and tokens are unique.
type Users []User

const (
	shortestToken = 16
	hashPrefix    = "sha256:"
	mostUsers     = 1000

	mostUsersBytes = 1 << 20
)

var userName = regexp.MustCompile(`^[\pL\pN][\pL\pN._@+-]{0,63}$`)

// readUsers reads a file of users as it is.
func readUsers(file string) ([]byte, error) {
	f, err := os.Open(file)
	if err != nil {
		return nil, fmt.Errorf("console.users_file: %w", err)
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, fmt.Errorf("console.users_file: %w", err)
	}
	if mode := info.Mode().Perm(); mode&0o022 != 0 {
		return nil, fmt.Errorf("console.users_file: others than its owner may write %s (mode %04o), and so let themselves in; mend it with `chmod 600 %s`", file, mode, file)
	}
	text, err := io.ReadAll(io.LimitReader(f, mostUsersBytes+1))
	if err != nil {
		return nil, fmt.Errorf("console.users_file: %w", err)
	}
	if len(text) > mostUsersBytes {
		return nil, fmt.Errorf("console.users_file: %s has more than %d bytes", file, mostUsersBytes)
	}
	return text, nil
}

// parseUsersFile reads the content of a file. Each line holds a name, a role and a
// token, or sha256: and the hash of a token in hexadecimal; # begins a comment.
func parseUsersFile(file string, text []byte) (Users, error) {
	users, err := parseUsers(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Errorf("console.users_file: %s: %w", file, err)
	}
	return users, nil
}

func parseUsers(r io.Reader) (all Users, err error) {
	lines := bufio.NewScanner(r)
	for n := 1; lines.Scan(); n++ {
		text, _, _ := strings.Cut(lines.Text(), "#")
		words := strings.Fields(text)
		if len(words) == 0 {
			continue
		}
		u, err := parseUser(words)
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		for _, other := range all {
			if other.Name == u.Name || other.hash == u.hash {
				return nil, fmt.Errorf("line %d: %s and %s have the same name or token", n, u.Name, other.Name)
			}
		}
		if all = append(all, u); len(all) > mostUsers {
			return nil, fmt.Errorf("more than %d users", mostUsers)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if len(all) == 0 {
		return nil, errors.New("nobody may sign in; write a line such as `ann analyst TOKEN`, where `weir console token` makes the token")
	}
	return all, nil
}

func parseUser(words []string) (u User, err error) {
	if len(words) != 3 {
		return u, errors.New("a line holds a name, a role and a token, such as `ann analyst sha256:…`")
	}
	u.Name = words[0]
	if !userName.MatchString(u.Name) {
		return u, fmt.Errorf("%q is no name: letters, digits and . _ @ + - are allowed", u.Name)
	}
	role, ok := roleNames[words[1]]
	if !ok {
		return u, fmt.Errorf("%q is no role; roles are reader, analyst and admin", words[1])
	}
	u.Role = role
	if text, ok := strings.CutPrefix(words[2], hashPrefix); ok {
		sum, err := hex.DecodeString(text)
		if err != nil || len(sum) != sha256.Size {
			return u, fmt.Errorf("after sha256: come %d hexadecimal digits", 2*sha256.Size)
		}
		copy(u.hash[:], sum)
		return u, nil
	}
	if len(words[2]) < shortestToken {
		return u, fmt.Errorf("the token of %s has %d bytes, and %d are needed; `weir console token` makes one", u.Name, len(words[2]), shortestToken)
	}
	u.hash = sha256.Sum256([]byte(words[2]))
	return u, nil
}

// find returns the user with a token. The time it takes does not depend on the
// token.
func (all Users) find(token string) (User, bool) {
	sum := sha256.Sum256([]byte(token))
	at := -1
	for i := range all {
		at = subtle.ConstantTimeSelect(subtle.ConstantTimeCompare(sum[:], all[i].hash[:]), i, at)
	}
	if at < 0 {
		return User{}, false
	}
	return all[at], true
}

// NewToken makes a token, and its form in the file of users.
func NewToken() (token, stored string) {
	b := make([]byte, 32)
	_, _ = rand.Read(b) // never fails
	token = base64.RawURLEncoding.EncodeToString(b)
	sum := sha256.Sum256([]byte(token))
	return token, hashPrefix + hex.EncodeToString(sum[:])
}

// Single returns one administrator with a new token, for a console that only this
// machine can reach.
func Single(name string) (all Users, token string) {
	token, _ = NewToken()
	if !userName.MatchString(name) {
		name = "admin"
	}
	return Users{{Name: name, Role: Admin, hash: sha256.Sum256([]byte(token))}}, token
}
