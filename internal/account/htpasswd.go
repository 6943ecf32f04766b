package account

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/sallyport/sallyport/internal/access"
)

// Limits on an htpasswd file.
const (
	maxHtpasswdLine  = 1024   // bytes
	maxHtpasswdLines = 10_000 // accounts
)

// An ImportError says which lines of an htpasswd file cannot be imported. Its
// text is meant for whoever asked; it never holds a hash.
type ImportError struct{ Lines []LineError }

// A LineError is what is wrong with one line.
type LineError struct {
	Line   int // 1 is the first
	Reason string
}

func (e *ImportError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "nothing was imported: %d bad lines", len(e.Lines))
	for _, l := range e.Lines {
		fmt.Fprintf(&b, "\nline %d: %s", l.Line, l.Reason)
	}
	return b.String()
}

// An htpasswdEntry is one good line of an htpasswd file.
type htpasswdEntry struct {
	line       int
	name, hash string
}

// ImportHtpasswd adds a person for each line "name:hash" of an htpasswd file;
// only bcrypt hashes of cost 4 to 12 are taken, and each is replaced by one of
// ours at the next login. It returns the names added. If any line is bad, or
// its name taken, it adds nobody. Errors: *ImportError; ErrExists when a name
// was taken at the same moment; those of may, which is asked about each name.
func (s *Service) ImportHtpasswd(ctx context.Context, r io.Reader, may func(Name) error) ([]string, error) {
	entries, bad := parseHtpasswd(r)
	for _, e := range entries {
		if err := may(Name{access.User, e.name}); err != nil {
			return nil, err
		}
		switch err := s.free(ctx, Name{access.User, e.name}); {
		case errors.Is(err, ErrExists), errors.Is(err, ErrRetired):
			bad = append(bad, LineError{e.line, err.Error()})
		case err != nil:
			return nil, err
		}
	}
	if len(bad) > 0 {
		return nil, &ImportError{Lines: bad}
	}
	if len(entries) == 0 {
		return nil, nil
	}
	names, accounts := make([]string, len(entries)), make([]Account, len(entries))
	for i, e := range entries {
		var err error
		if accounts[i], err = s.newAccount(Name{access.User, e.name}, e.hash); err != nil {
			return nil, err
		}
		names[i] = e.name
	}
	if err := s.dir.AddAccounts(ctx, accounts...); err != nil {
		return nil, fmt.Errorf("import htpasswd: %w", err)
	}
	s.decoys.Store(nil) // who has no account shall cost as much as these at once
	return names, nil
}

// parseHtpasswd returns the entries of an htpasswd file and what is wrong with
// the other lines. Empty lines and lines that begin with '#' are skipped.
func parseHtpasswd(r io.Reader) (entries []htpasswdEntry, bad []LineError) {
	seen := make(map[string]int)
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 0, maxHtpasswdLine), maxHtpasswdLine)
	n := 0
	for lines.Scan() {
		n++
		line := strings.TrimRight(lines.Text(), " \t\r")
		if line == "" || line[0] == '#' {
			continue
		}
		name, hash, found := strings.Cut(line, ":")
		reason := ""
		switch first, double := seen[name]; {
		case len(entries) == maxHtpasswdLines:
			return entries, append(bad, LineError{n, fmt.Sprintf("more than %d accounts; split the file", maxHtpasswdLines)})
		case !found:
			reason = `not of the form "name:hash"`
		case double:
			reason = fmt.Sprintf("the name is already on line %d", first)
		default:
			reason = badEntry(name, hash)
		}
		if reason != "" {
			bad = append(bad, LineError{n, reason})
			continue
		}
		seen[name] = n
		entries = append(entries, htpasswdEntry{n, name, hash})
	}
	if err := lines.Err(); errors.Is(err, bufio.ErrTooLong) {
		bad = append(bad, LineError{n + 1, fmt.Sprintf("longer than %d bytes", maxHtpasswdLine)})
	} else if err != nil {
		bad = append(bad, LineError{n + 1, "the file could not be read to its end"})
	}
	return entries, bad
}

func badEntry(name, hash string) string {
	if err := access.ValidName(name); err != nil {
		return err.Error()
	}
	if _, ok := bcryptCost(hash); ok {
		return ""
	}
	if strings.HasPrefix(hash, "$2") {
		return fmt.Sprintf("not a bcrypt hash of cost %d to %d with prefix $2a$, $2b$ or $2y$", minBcryptCost, maxBcryptCost)
	}
	return "not a bcrypt hash; make the line with htpasswd -B"
}
