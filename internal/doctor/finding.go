package doctor

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// A Severity says how bad a finding is.
type Severity string

// The severities, worst first.
const (
	High   Severity = "high"
	Medium Severity = "medium"
	Low    Severity = "low"
	Info   Severity = "info"
)

// Severities are all of them, worst first.
var Severities = []Severity{High, Medium, Low, Info}

// AtLeast reports whether s is as bad as other, or worse.
func (s Severity) AtLeast(other Severity) bool {
	return slices.Index(Severities, s) <= slices.Index(Severities, other)
}

// An ID names a kind of finding. It stays the same between versions.
type ID string

// A Kind is what all findings of one ID have in common.
type Kind struct {
	ID       ID
	Severity Severity
	Meaning  string
}

// Kinds are all kinds of findings, in the order in which docs/doctor.md has them.
var Kinds = []Kind{
	{"file-readable", High, "Others may read a file that holds a secret."},
	{"file-shielded", Low, "The mode of a file that holds a secret lets others read it; only a directory above keeps them out."},
	{"file-writable", High, "Others may change a file that a client trusts."},
	{"dir-writable", High, "Others may replace a file that a client trusts, since they may write to a directory above it."},
	{"file-owner", High, "A file that a client trusts, or a directory above it, belongs to somebody else."},
	{"file-symlink", Info, "A file with a secret is reached over a symbolic link."},
	{"file-damaged", Medium, "A file is not of the form that its client reads."},
	{"file-unread", Info, "A file could not be examined."},
	{"examination-cut", Medium, "There is more than an examination reads: what comes after was not examined."},

	{"password-stored", High, "A password is kept in the clear (base64 hides nothing)."},
	{"key-stored", Medium, "An access key of Sallyport is kept in the clear: it can be revoked and ends by itself, but until then who copies it has it."},
	{"token-stored", Low, "A token that ends within a day is kept in the clear."},
	{"token-lasting", Medium, "A token that lives for longer than a day is kept in the clear."},
	{"token-endless", High, "A token that never ends is kept in the clear."},
	{"token-expired", Low, "A token that has expired still lies about."},
	{"bearer-stored", Medium, "A bearer token, which is sent as it is, is kept in the clear; when it ends cannot be seen."},
	{"identity-stored", Info, "An identity token stands where a password would: it is revocable, and good for getting tokens only."},
	{"stray-secret", Medium, "A secret stands outside of the entries: in the URL of a proxy, in a header, or in the environment of a plugin."},
	{"env-secret", Medium, "An environment variable seems to hold a secret, which every process started from here inherits."},
	{"ci-identity", Info, "This CI system can prove who a job is, so that the job needs no secret."},
	{"entry-damaged", Low, "Clients pass over an entry, or some of them do."},
	{"helper-missing", Medium, "A credential helper or provider is configured, but it is not there."},
	{"helper-silent", Low, "A credential helper does not answer the question for its version."},
	{"helper-bypassed", Medium, "A secret is kept in the clear although a credential helper is configured for the registry."},
	{"helper-unused", Low, "A secret is kept in the clear although a credential helper is installed."},

	{"insecure-registry", High, "A client takes this registry over plain HTTP, or without verifying who it is."},
	{"insecure-loopback", Info, "The same for a registry on this machine."},
	{"insecure-cluster", Medium, "A client of Kubernetes does not verify who the cluster is."},
	{"ca-expired", Medium, "A CA certificate that a client trusts for a registry has expired, or will within 30 days."},

	{"login-tampered", High, "A stored login of sallyport names a token service that is not its server's own."},
	{"login-ended", Low, "The registry does not take this identity token or access key any more."},
	{"registry-unreachable", High, "The registry does not answer."},
	{"registry-plain", High, "The registry speaks plain HTTP where HTTPS was meant."},
	{"registry-foreign", Medium, "What answers asks for no bearer token: it is no Sallyport, or a proxy is in between."},
	{"tls-untrusted", High, "The registry's certificate is signed by no CA that is trusted here."},
	{"tls-name", High, "The registry's certificate is for another name."},
	{"tls-expired", High, "The registry's certificate has expired, or is not valid yet."},
	{"tls-expiring", Medium, "The registry's certificate expires within 14 days."},
	{"realm-elsewhere", High, "The registry sends its clients to another server with their credentials."},
	{"realm-unreachable", High, "The registry's token service does not answer."},
	{"clock-skew", Medium, "The clocks here and at the registry differ by more than a minute: tokens are refused as expired, or as not valid yet."},
}

// severity is that of an ID. An ID without one is a mistake of ours, which the
// tests find.
func severity(id ID) Severity {
	for _, k := range Kinds {
		if k.ID == id {
			return k.Severity
		}
	}
	panic("doctor: no kind " + string(id))
}

// A Finding is one thing that is wrong.
type Finding struct {
	Severity Severity `json:"severity"`
	ID       ID       `json:"id"`
	Place    string   `json:"place"`           // a file, "$NAME" of a variable, or a server
	Entry    string   `json:"entry,omitempty"` // whose: a registry, a user
	Reason   string   `json:"reason"`
	Mend     string   `json:"mend,omitempty"` // the command that mends it
	Fixable  bool     `json:"fixable"`        // --fix can mend it
	Fixed    bool     `json:"fixed"`

	fix func() error
}

// A problem is what a check knows of a finding.
type problem struct {
	id     ID
	place  string
	entry  string
	reason string
	mend   string
	fix    func() error
}

// tell adds a finding, once.
func (e *exam) tell(p problem) {
	f := Finding{
		Severity: severity(p.id), ID: p.id, Place: redact(p.place), Entry: show(p.entry),
		Reason: redact(p.reason), Mend: redact(p.mend), Fixable: p.fix != nil, fix: p.fix,
	}
	key := fmt.Sprint(p.id, "\x00", p.place, "\x00", p.entry)
	if e.told[key] {
		return
	}
	if len(e.findings) >= maxFindings {
		e.more = true
		return
	}
	e.told[key] = true
	e.findings = append(e.findings, f)
}

// sorted returns the findings, worst first.
func (e *exam) sorted() []Finding {
	slices.SortStableFunc(e.findings, func(a, b Finding) int {
		return cmp.Or(
			cmp.Compare(slices.Index(Severities, a.Severity), slices.Index(Severities, b.Severity)),
			strings.Compare(a.Place, b.Place),
			strings.Compare(a.Entry, b.Entry),
			strings.Compare(string(a.ID), string(b.ID)),
		)
	})
	return e.findings
}
