package access

// An Action is what a principal does to a repository, or an administrative
// right.
type Action string

// The actions on a repository. Push is CreateTag and MoveTag together; either
// lets content be uploaded.
const (
	Pull      Action = "pull"
	Push      Action = "push"
	CreateTag Action = "create-tag" // a tag that is not there yet
	MoveTag   Action = "move-tag"   // a tag that points elsewhere
	Delete    Action = "delete"
)

// The administrative rights. They are given over names in the tree: those of
// repositories and those of accounts and groups. Over "**" they are for the
// whole registry. Admin is all of them together.
const (
	ManagePolicy   Action = "manage-policy"
	ManageAccounts Action = "manage-accounts" // accounts, groups, passwords, sessions
	ManageKeys     Action = "manage-keys"     // access keys of others
	ReadAudit      Action = "read-audit"
	Operate        Action = "operate" // sweeps, signing keys, issuers
	Admin          Action = "admin"
)

// An actionSet is a set of Actions; Push and Admin are the sets they stand for.
type actionSet uint16

const (
	bitPull actionSet = 1 << iota
	bitCreateTag
	bitMoveTag
	bitDelete
	bitManagePolicy
	bitManageAccounts
	bitManageKeys
	bitReadAudit
	bitOperate

	bitsPush  = bitCreateTag | bitMoveTag
	bitsAdmin = bitManagePolicy | bitManageAccounts | bitManageKeys | bitReadAudit | bitOperate
)

// singleActions are the actions that stand for themselves, in the order of
// their bits.
var singleActions = []Action{Pull, CreateTag, MoveTag, Delete, ManagePolicy, ManageAccounts, ManageKeys, ReadAudit, Operate}

// administrative are the actions that Admin stands for.
var administrative = bitsAdmin.single()

// setOf returns the actions that a stands for, none if it is unknown.
func setOf(a Action) actionSet {
	switch a {
	case Pull:
		return bitPull
	case Push:
		return bitsPush
	case CreateTag:
		return bitCreateTag
	case MoveTag:
		return bitMoveTag
	case Delete:
		return bitDelete
	case ManagePolicy:
		return bitManagePolicy
	case ManageAccounts:
		return bitManageAccounts
	case ManageKeys:
		return bitManageKeys
	case ReadAudit:
		return bitReadAudit
	case Operate:
		return bitOperate
	case Admin:
		return bitsAdmin
	}
	return 0
}

// single returns the actions in s that stand for themselves.
func (s actionSet) single() []Action {
	var out []Action
	for i, a := range singleActions {
		if s&(1<<i) != 0 {
			out = append(out, a)
		}
	}
	return out
}

// words returns s as it is written in a document, push and admin for the sets
// they stand for.
func (s actionSet) words() []string {
	var out []string
	for _, a := range []Action{Pull, Push, Admin} {
		if set := setOf(a); s&set == set {
			out = append(out, string(a))
			s &^= set
		}
	}
	for _, a := range s.single() {
		out = append(out, string(a))
	}
	return out
}

// knownActions is for messages.
const knownActions = "pull, push, create-tag, move-tag, delete, manage-policy, manage-accounts, manage-keys, read-audit, operate or admin"

// wire returns the action of a token's scope that a needs.
func wire(a Action) Action {
	if a == CreateTag || a == MoveTag {
		return Push
	}
	return a
}

// wireActions are the actions on a repository that a scope can ask for: what
// "*" asks for there.
var wireActions = []Action{Pull, Push, Delete}
