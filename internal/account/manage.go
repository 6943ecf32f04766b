package account

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/sallyport/sallyport/internal/access"
)

// A Name selects an account as people write it: "user:alice", "robot:ci". Names
// are unique across kinds, but a robot is not found as a user.
type Name struct {
	Kind access.Kind
	Name string
}

func (n Name) String() string { return string(n.Kind) + ":" + n.Name }

// maxList bounds a part of a listing: a page of the API, and one more that tells
// whether there are more.
const maxList = 1000 + 1

// AddUser adds a person. Errors: ErrExists, ErrRetired, *Invalid,
// access.ErrBusy.
func (s *Service) AddUser(ctx context.Context, name string, password access.Secret) (Account, error) {
	if err := s.free(ctx, Name{access.User, name}); err != nil {
		return Account{}, err
	}
	hash, err := s.hashNew(ctx, name, password)
	if err != nil {
		return Account{}, err
	}
	return s.add(ctx, Name{access.User, name}, hash)
}

// AddRobot adds a machine, which has no password, only keys. Errors: ErrExists,
// ErrRetired, *Invalid.
func (s *Service) AddRobot(ctx context.Context, name string) (Account, error) {
	if err := s.free(ctx, Name{access.Robot, name}); err != nil {
		return Account{}, err
	}
	return s.add(ctx, Name{access.Robot, name}, "")
}

// free checks that a new account may have that name: it is well-formed, not in
// use, and it would not inherit what the policy gives to a removed account.
func (s *Service) free(ctx context.Context, n Name) error {
	if err := access.ValidName(n.Name); err != nil {
		return invalidBecause(err)
	}
	if err := s.local("the account", n.Name); err != nil {
		return err
	}
	switch _, err := s.dir.AccountByName(ctx, n.Name); {
	case err == nil:
		return fmt.Errorf("%s: %w", n, ErrExists)
	case !errors.Is(err, ErrUnknown):
		return fmt.Errorf("find account: %w", err)
	}
	return s.refuseRetired(ctx, n)
}

// refuseRetired errors for the name of a removed account to which the policy still
// gives something.
func (s *Service) refuseRetired(ctx context.Context, n Name) error {
	retired, err := s.dir.IsRetired(ctx, n.Name)
	if err != nil {
		return fmt.Errorf("find retired name: %w", err)
	}
	if !retired {
		return nil
	}
	policy, err := s.Current(ctx)
	if err != nil {
		return err
	}
	if policy.Mentions(n.Kind, n.Name) {
		return fmt.Errorf("%s: %w", n, ErrRetired)
	}
	return nil
}

func (s *Service) add(ctx context.Context, n Name, hash string) (Account, error) {
	a, err := s.newAccount(n, hash)
	if err != nil {
		return Account{}, err
	}
	if err := s.dir.AddAccounts(ctx, a); err != nil {
		return Account{}, fmt.Errorf("add %s: %w", n, err)
	}
	a.PasswordHash = ""
	return a, nil
}

func (s *Service) newAccount(n Name, hash string) (Account, error) {
	uid, err := s.newID()
	return Account{
		UID: uid, Name: n.Name, Kind: n.Kind, PasswordHash: hash,
		Created: s.now().UTC().Truncate(time.Second),
	}, err
}

// find returns an account with its hash. Errors: ErrUnknown.
func (s *Service) find(ctx context.Context, n Name) (Account, error) {
	if access.ValidName(n.Name) != nil {
		return Account{}, fmt.Errorf("%.80q: %w", n.Name, ErrUnknown)
	}
	a, err := s.dir.AccountByName(ctx, n.Name)
	if err == nil && a.Kind != n.Kind {
		err = ErrUnknown
	}
	if err != nil {
		return Account{}, fmt.Errorf("find %s: %w", n, err)
	}
	return a, nil
}

// Find returns an account, without its hash. Errors: ErrUnknown.
func (s *Service) Find(ctx context.Context, n Name) (Account, error) {
	a, err := s.find(ctx, n)
	if err != nil {
		return Account{}, err
	}
	a.PasswordHash = ""
	found := []Account{a}
	err = s.withLinks(ctx, found)
	return found[0], err
}

// List returns accounts of one kind ordered by name, after the given name, at
// most limit (1,001 at most), without their hashes.
func (s *Service) List(ctx context.Context, kind access.Kind, after string, limit int) ([]Account, error) {
	accounts, err := s.dir.ListAccounts(ctx, kind, after, min(max(limit, 1), maxList))
	if err != nil {
		return nil, fmt.Errorf("list accounts: %w", err)
	}
	for i := range accounts {
		accounts[i].PasswordHash = ""
	}
	return accounts, s.withLinks(ctx, accounts)
}

// Disable ends every right of an account until Enable. Errors: ErrUnknown.
func (s *Service) Disable(ctx context.Context, n Name) error { return s.setDisabled(ctx, n, true) }

// Enable undoes Disable. Errors: ErrUnknown.
func (s *Service) Enable(ctx context.Context, n Name) error { return s.setDisabled(ctx, n, false) }

func (s *Service) setDisabled(ctx context.Context, n Name, disabled bool) error {
	a, err := s.find(ctx, n)
	if err != nil {
		return err
	}
	if err := s.dir.SetDisabled(ctx, a.UID, disabled); err != nil {
		return fmt.Errorf("set disabled of %s: %w", n, err)
	}
	return nil
}

// Remove removes an account with its keys and sessions, for ever: who gets the
// name later is somebody else. Errors: ErrUnknown.
func (s *Service) Remove(ctx context.Context, n Name) error {
	a, err := s.find(ctx, n)
	if err != nil {
		return err
	}
	if err := s.dir.RemoveAccount(ctx, a.UID); err != nil {
		return fmt.Errorf("remove %s: %w", n, err)
	}
	return nil
}

// SetPassword sets a person's password, as an administrator does, and ends the
// person's sessions, one-time code, and what else came of the old password,
// access keys aside. Errors: ErrUnknown, *Invalid, access.ErrBusy.
func (s *Service) SetPassword(ctx context.Context, name string, password access.Secret) error {
	a, err := s.find(ctx, Name{access.User, name})
	if err != nil {
		return err
	}
	if err := s.hasPassword(ctx, a); err != nil {
		return err
	}
	hash, err := s.hashNew(ctx, name, password)
	if err != nil {
		return err
	}
	if err := s.dir.SetPassword(ctx, a.UID, hash, s.now()); err != nil {
		return fmt.Errorf("set password of %s: %w", name, err)
	}
	return nil
}

// ChangePassword sets the password of the person who proves the current one,
// and ends what SetPassword does. The caller has proven by a token to be that
// person; of one person's changes one goes on at a time. A password that was
// replaced meanwhile was not the current one. Errors: access.ErrBadCredential,
// *access.Throttled, *Invalid, access.ErrBusy.
func (s *Service) ChangePassword(ctx context.Context, name string, current, next access.Secret, from access.Origin) error {
	if err := s.CheckPassword(name, next); err != nil {
		return err
	}
	if next.Reveal() == current.Reveal() {
		return invalid("the new password is the same as the current one; choose another")
	}
	if _, running := s.changing.LoadOrStore(name, true); running {
		return access.ErrBusy
	}
	defer s.changing.Delete(name)
	a, err := s.proveAgain(ctx, access.Password{Name: name, Secret: current, From: from})
	if err != nil {
		return err
	}
	hash, err := s.hashNew(ctx, name, next)
	if err != nil {
		return err
	}
	if err := s.dir.ChangePassword(ctx, a.UID, a.PasswordSet, hash, s.now()); err != nil {
		return notFoundIsBad("change password of "+name, err)
	}
	return nil
}

// MaxGroups is in how many groups an account can be: what it has of each is
// looked up with every request.
const MaxGroups = 1000

// AddMember puts an account into a local group, which exists while it has
// members. Groups of a provider have the members that it names. Errors:
// ErrUnknown, ErrGroups, *Invalid.
func (s *Service) AddMember(ctx context.Context, group string, member Name) error {
	if err := access.ValidName(group); err != nil {
		return invalidBecause(err)
	}
	if err := s.local("the group", group); err != nil {
		return err
	}
	a, err := s.find(ctx, member)
	if err != nil {
		return err
	}
	if err := s.dir.AddMember(ctx, group, a.UID); err != nil {
		return fmt.Errorf("add %s to %s: %w", member, group, err)
	}
	return nil
}

// RemoveMember takes an account out of a group. Errors: ErrUnknown, also when
// it was not a member.
func (s *Service) RemoveMember(ctx context.Context, group string, member Name) error {
	if access.ValidName(group) != nil {
		return fmt.Errorf("%.80q: %w", group, ErrUnknown)
	}
	if err := s.local("the group", group); err != nil {
		return err
	}
	a, err := s.find(ctx, member)
	if err != nil {
		return err
	}
	if err := s.dir.RemoveMember(ctx, group, a.UID); err != nil {
		return fmt.Errorf("remove %s from %s: %w", member, group, err)
	}
	return nil
}

// ListGroups returns group → members ("user:alice"), sorted.
func (s *Service) ListGroups(ctx context.Context) (map[string][]string, error) {
	groups, err := s.dir.ListGroups(ctx)
	if err != nil {
		return nil, fmt.Errorf("list groups: %w", err)
	}
	return groups, nil
}
