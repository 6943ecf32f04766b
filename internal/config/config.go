// Package config owns the configuration file: one typed struct, strictly
// decoded, documented field by field.
package config

import (
	"net/netip"
	"time"
)

// A Config is everything that can be set. The tags are the only description of
// a setting: decoding, validation, docs/configuration.md and the messages all
// read them.
//
//	yaml   key in the file
//	doc    what it means
//	enum   allowed values, separated by commas
//	min    least duration or number
//	max    greatest duration or number
//	unset  what an empty value stands for
//
// A slice of structs is a list of sections. A Config is a value: copy it freely,
// but do not change its slices.
type Config struct {
	Data              string         `yaml:"data" doc:"Directory for blobs, the SQLite database and the local CA. Created with mode 0700."`
	Listen            string         `yaml:"listen" doc:"Address and port of the registry. localhost means 127.0.0.1 and [::1]. Anything but loopback needs external_url."`
	ExternalURL       string         `yaml:"external_url" unset:"the listener's own loopback names" doc:"URL under which clients reach the registry, without a path. Every URL in an answer comes from it and requests for another host are refused."`
	Service           string         `yaml:"service" unset:"host and port of external_url, else of listen" doc:"Audience of the tokens and service name in challenges. Changing it ends every login."`
	Database          DatabaseURL    `yaml:"database" unset:"sqlite:DATA/metadata.db" doc:"Metadata database: sqlite:PATH or postgres://USER@HOST/NAME. A file that holds a password here must have mode 0600."`
	DatabaseFile      string         `yaml:"database_file" unset:"none" doc:"File whose first line is the database URL, mode 0600; instead of database."`
	AdminPasswordFile string         `yaml:"admin_password_file" unset:"a random password, shown once" doc:"File whose first line becomes the administrator's password at the very first start, mode 0600. Not read later."`
	InsecureHTTP      bool           `yaml:"insecure_http" doc:"Serve plain HTTP: only on loopback, or behind the proxies named in trusted_proxies."`
	TLS               TLS            `yaml:"tls"`
	ACME              ACME           `yaml:"acme"`
	TrustedProxies    []netip.Prefix `yaml:"trusted_proxies" unset:"none" doc:"Networks whose X-Forwarded-For and X-Request-Id headers count. From anyone else they are ignored."`
	Health            Health         `yaml:"health"`
	Log               Log            `yaml:"log"`
	Tokens            Tokens         `yaml:"tokens"`
	Federation        Federation     `yaml:"federation"`
	Signing           Signing        `yaml:"signing"`
	Passwords         Passwords      `yaml:"passwords"`
	Login             Login          `yaml:"login"`
	Keys              Keys           `yaml:"keys"`
	GC                GC             `yaml:"gc"`
	Audit             Audit          `yaml:"audit"`
	ShutdownTimeout   time.Duration  `yaml:"shutdown_timeout" min:"1s" max:"1h" doc:"How long running requests may take to finish after SIGTERM."`

	// where tells the origin of each key that was set, for messages.
	where map[string]string
}

// TLS is how the listener proves itself. Without certificate and key a local CA
// in DATA/tls signs a certificate for the listener's names.
type TLS struct {
	Certificate string `yaml:"certificate" unset:"one signed by the local CA in DATA/tls" doc:"PEM file with the certificate and its intermediates. Reloaded when it changes."`
	Key         string `yaml:"key" unset:"as certificate" doc:"PEM file with the private key, mode 0600. Reloaded when it changes."`
	HTTP2       bool   `yaml:"http2" doc:"Offer HTTP/2. It about doubles the CPU of blob downloads."`

	ClientAuthorities []ClientAuthority `yaml:"client_authorities" unset:"none" doc:"Authorities whose client certificates prove who comes. See docs/mtls.md."`
}

// A ClientAuthority is a certificate authority whose client certificates prove
// external principals of the issuer "x509:NAME".
type ClientAuthority struct {
	Name     string `yaml:"name" doc:"Name of the authority: policies say x509:NAME. Lower-case letters, digits and hyphens."`
	CA       string `yaml:"ca" doc:"PEM file with the authority's certificates, and its intermediate ones. Reloaded when it changes."`
	CRL      string `yaml:"crl" unset:"nothing is revoked" doc:"File with the revocation lists, in PEM form or one in DER form, of all that ca signs with. Reloaded when it changes; a list past its end refuses all."`
	Identity string `yaml:"identity" enum:"spiffe,dns,email,cn" doc:"Which name in the certificate is the principal's: its one SPIFFE URI, DNS name or e-mail address, or the common name."`
}

// ACME gets the listener's certificate from an ACME server (RFC 8555) instead.
type ACME struct {
	AcceptTerms bool     `yaml:"accept_terms" doc:"Get certificates from the ACME server and accept its terms of service. Nothing happens without it. See docs/acme.md."`
	Directory   string   `yaml:"directory" doc:"URL of the ACME server's directory. The default is Let's Encrypt."`
	Email       string   `yaml:"email" unset:"none" doc:"Address that the ACME server may write to."`
	Hosts       []string `yaml:"hosts" unset:"the host of external_url" doc:"Names to get certificates for, and no others. The first is served to clients that name none."`
	HTTPListen  string   `yaml:"http_listen" unset:"challenges are answered on listen alone (TLS-ALPN-01)" doc:"Address and port of a plain HTTP listener that answers HTTP-01 challenges and nothing else. The ACME server comes to port 80."`
	CAFile      string   `yaml:"ca_file" unset:"the machine's authorities" doc:"PEM file with the authorities that may vouch for the ACME server itself."`
	EABKeyID    string   `yaml:"eab_key_id" unset:"none" doc:"Key id of an external account binding, where the ACME server asks for one."`
	EABKeyFile  string   `yaml:"eab_key_file" unset:"none" doc:"File whose first line is the key of eab_key_id in base64url, mode 0600."`
}

// Health is the listener of /healthz and /readyz.
type Health struct {
	Listen string `yaml:"listen" unset:"no health listener" doc:"Address and port of /healthz (the process) and /readyz (database and storage answer)."`
}

// Log is what is written to standard error.
type Log struct {
	Format string `yaml:"format" enum:"json,text" doc:"Form of the log lines."`
	Level  string `yaml:"level" enum:"debug,info,warn,error" doc:"Least level that is written. The access line of a request has level info."`
}

// Tokens are access tokens and the identity tokens of docker login.
type Tokens struct {
	Lifetime        time.Duration `yaml:"lifetime" min:"300s" max:"1h" doc:"Life of an access token."`
	SessionAbsolute time.Duration `yaml:"session_absolute" min:"1h" max:"8784h" doc:"Life of an identity token (docker login), however often it is used."`
	SessionIdle     time.Duration `yaml:"session_idle" min:"1h" max:"8784h" doc:"An identity token that was not used for so long ends."`
	JobSession      time.Duration `yaml:"job_session" min:"5m" max:"24h" doc:"Longest life of an identity token for the token of a trusted issuer (docker login in a job). It outlives that token, and ends with the trust in the issuer."`
	Services        []string      `yaml:"services" unset:"none" doc:"Other registries that use Sallyport as their token server: the audiences that tokens are issued for beside service. Sallyport itself takes no such token."`
	KeyRotation     time.Duration `yaml:"key_rotation" unset:"only by hand: sallyport signing-key rotate" min:"1h" max:"17568h" doc:"Time from one signing key to the next."`
	KeyPublishAhead time.Duration `yaml:"key_publish_ahead" min:"1m" max:"8784h" doc:"How long the next signing key is in the key set before it signs, so that others learn it in time. At most half of key_rotation."`
	TestExpiry      time.Duration `yaml:"test_expiry" unset:"as lifetime" min:"1s" max:"1h" doc:"For tests of clients only: access tokens end after this time although their answer says lifetime."`
}

// Federation is whose tokens count beside our own.
type Federation struct {
	IssuersFile  string   `yaml:"issuers_file" unset:"none" doc:"File with trusted issuers, in the form of Kubernetes' AuthenticationConfiguration, beside those that are added with sallyport issuer. Reloaded when it changes. See docs/federation.md."`
	AllowPrivate []string `yaml:"allow_private" unset:"none" doc:"Hosts, HOST or HOST:PORT, that issuers added with sallyport issuer may name in allowPrivateAddresses. Servers of issuers must else be at public addresses. Definitions in issuers_file need no entry here."`
}

// Signing is how the keys that sign access tokens rest.
type Signing struct {
	KEKFile string `yaml:"kek_file" unset:"SALLYPORT_SIGNING_KEK, a systemd credential, or DATA/keys/signing.kek" doc:"File with the key-encryption key under which signing keys rest in the database, mode 0600: the base64 of 32 random bytes. Further lines still open what was sealed under them."`
}

// Passwords are what people log in with.
type Passwords struct {
	MinLength int  `yaml:"min_length" min:"12" max:"64" doc:"Least number of characters of a new password, whoever sets it. Well-known ones and those made of names are refused at any length."`
	LoginOnly bool `yaml:"login_only" doc:"Take passwords only from logins that ask for an identity token (docker login, sallyport login), so that podman, CI and scripts must use access keys."`
}

// Login is how people from elsewhere sign in.
type Login struct {
	Providers   []LoginProvider  `yaml:"providers" unset:"none" doc:"OpenID providers that people sign in with in a browser. See docs/sign-in.md."`
	Directories []LoginDirectory `yaml:"directories" unset:"none" doc:"LDAP directories whose people log in as NAME/alice with their password there. See docs/ldap.md."`
}

// A LoginDirectory is an LDAP directory. Its people are accounts "user:NAME/…" in
// groups "group:NAME/…".
type LoginDirectory struct {
	Name               string        `yaml:"name" doc:"Name of the directory: its people and groups are below NAME/. Lower-case letters, digits and hyphens."`
	Schema             string        `yaml:"schema" enum:"active-directory,rfc2307bis,rfc2307" doc:"What its entries are like: groups with DNs in member (rfc2307bis, as in most OpenLDAP), or with names in memberUid (rfc2307)."`
	URLs               []string      `yaml:"urls" doc:"Servers, at most 8, in the order in which they are asked: ldaps://HOST, or ldap://HOST which is always StartTLS."`
	CAFile             string        `yaml:"ca_file" unset:"the machine's authorities" doc:"PEM file with the authorities that may vouch for the servers."`
	BindDN             string        `yaml:"bind_dn" unset:"nobody" doc:"DN of the account that searches. It needs to read people and groups, and no more."`
	BindPasswordFile   string        `yaml:"bind_password_file" unset:"none" doc:"File whose first line is its password, mode 0600."`
	UserBase           string        `yaml:"user_base" doc:"DN below which people are."`
	UserFilter         string        `yaml:"user_filter" unset:"by schema" doc:"Filter that people must match, at each login and check."`
	LoginAttributes    []string      `yaml:"login_attributes" unset:"uid; sAMAccountName" doc:"Attributes whose value may be typed behind NAME/."`
	IDAttribute        string        `yaml:"id_attribute" unset:"entryUUID; objectGUID" doc:"Attribute that tells one person from all others for ever, and is never given to somebody else."`
	NameAttribute      string        `yaml:"name_attribute" unset:"uid; sAMAccountName" doc:"Attribute that a new account gets its name from."`
	DisabledAttribute  string        `yaml:"disabled_attribute" unset:"pwdAccountLockedTime; userAccountControl and accountExpires" doc:"Attribute of who may not log in: any value but FALSE and 0."`
	GroupBase          string        `yaml:"group_base" unset:"no groups" doc:"DN below which groups are. Their names must be unique there."`
	GroupFilter        string        `yaml:"group_filter" unset:"by schema" doc:"Filter that groups must match."`
	GroupNameAttribute string        `yaml:"group_name_attribute" unset:"cn; sAMAccountName" doc:"Attribute with the name of a group, which is taken in lower case."`
	MemberAttribute    string        `yaml:"member_attribute" unset:"member; memberUid" doc:"Attribute of a group with its members."`
	MemberOfAttribute  string        `yaml:"member_of_attribute" unset:"none" doc:"Attribute of people with the DNs of their groups, such as memberOf, to be read instead of searching for members."`
	NestedGroups       bool          `yaml:"nested_groups" doc:"Who is in a group is also in the groups that it is in."`
	AllowedGroups      []string      `yaml:"allowed_groups" unset:"everybody" doc:"Only who is in one of these groups may log in."`
	CreateAccounts     bool          `yaml:"create_accounts" doc:"Give an account to who logs in for the first time. Otherwise an administrator links one: sallyport user link."`
	Recheck            time.Duration `yaml:"recheck" unset:"1h" min:"1m" max:"24h" doc:"After how long the directory is asked again about somebody, when an identity token of theirs is used."`
	MaxAge             time.Duration `yaml:"max_age" unset:"12h" min:"1m" max:"720h" doc:"After how long such an identity token is refused when the directory could not be asked again."`
}

// A LoginProvider is an OpenID provider. Whom it vouches for is an account
// "user:NAME/…" in groups "group:NAME/…".
type LoginProvider struct {
	Name             string        `yaml:"name" doc:"Name of the provider: its people and groups are below NAME/. Lower-case letters, digits and hyphens."`
	Issuer           string        `yaml:"issuer" doc:"Its issuer, an https URL, exactly as its discovery document says."`
	ClientID         string        `yaml:"client_id" doc:"Id under which it knows this registry. The redirect URI to register there is EXTERNAL_URL/oauth/callback/NAME."`
	ClientSecretFile string        `yaml:"client_secret_file" unset:"a public client" doc:"File whose first line is the client secret, mode 0600."`
	Scopes           []string      `yaml:"scopes" unset:"profile and email" doc:"Scopes to ask for beside openid. With offline_access, most providers let the registry ask them again later."`
	NameClaim        string        `yaml:"name_claim" unset:"preferred_username" doc:"Claim that a new account gets its name from. It tells nobody apart: issuer and subject do."`
	GroupsClaim      string        `yaml:"groups_claim" unset:"no groups" doc:"Claim with the groups, a list of texts. Those that cannot be names here are left out."`
	AllowedGroups    []string      `yaml:"allowed_groups" unset:"everybody" doc:"Only who is in one of these groups may sign in, as the provider writes them."`
	AllowedDomains   []string      `yaml:"allowed_domains" unset:"everybody" doc:"Only who has a verified e-mail address in one of these domains may sign in."`
	CreateAccounts   bool          `yaml:"create_accounts" doc:"Give an account to who signs in for the first time. Otherwise an administrator links one: sallyport user link."`
	Recheck          time.Duration `yaml:"recheck" unset:"1h" min:"1m" max:"24h" doc:"After how long the provider is asked again whether it still vouches, when an identity token that came of it is used."`
	MaxAge           time.Duration `yaml:"max_age" unset:"12h" min:"1m" max:"720h" doc:"After how long such an identity token is refused when the provider could not be asked again."`
	CAFile           string        `yaml:"ca_file" unset:"the machine's authorities" doc:"PEM file with the authorities that may vouch for the provider's servers."`
	PrivateHosts     []string      `yaml:"private_hosts" unset:"none" doc:"Hosts of the provider, HOST or HOST:PORT, that may be at addresses inside your network."`
}

// Keys are access keys.
type Keys struct {
	MaxExpiry time.Duration `yaml:"max_expiry" min:"2160h" max:"87840h" doc:"Longest life an access key may be given. One that is created without an expiry lives 90 days."`
}

// GC is the sweep that frees what nothing refers to.
type GC struct {
	Interval time.Duration `yaml:"interval" unset:"only by hand: sallyport gc run" min:"1m" max:"8784h" doc:"Time between two sweeps."`
	Grace    time.Duration `yaml:"grace" min:"13h" max:"8784h" doc:"What was pushed or relied on so recently is never removed. Longer than the 12 hours an upload may take."`
}

// Audit is the record of what happened.
type Audit struct {
	Pulls     bool          `yaml:"pulls" doc:"Leave an event for each pull of a manifest or blob."`
	Retention time.Duration `yaml:"retention" unset:"for ever" min:"24h" max:"87840h" doc:"How long events stay in the database; 0s keeps them for ever. Copies elsewhere are not touched."`
	Stdout    bool          `yaml:"stdout" doc:"Also write each event to standard output, as a line of JSON."`
	File      string        `yaml:"file" unset:"none" doc:"Also append each event to this file, as a line of JSON, mode 0600. Rename or remove it to rotate: a new one is made."`
	Syslog    string        `yaml:"syslog" unset:"none" doc:"Also send each event to this syslog server (RFC 5424): unix:/dev/log, udp:HOST:PORT or tcp:HOST:PORT."`
}

// Default returns the configuration of a start without file and flags.
func Default() Config {
	return Config{
		Data:   "data",
		Listen: "localhost:5000",
		ACME:   ACME{Directory: "https://acme-v02.api.letsencrypt.org/directory"},
		Health: Health{Listen: "localhost:5001"},
		Log:    Log{Format: "text", Level: "info"},
		Tokens: Tokens{
			Lifetime:        5 * time.Minute,
			SessionAbsolute: 30 * 24 * time.Hour,
			SessionIdle:     7 * 24 * time.Hour,
			JobSession:      time.Hour,
			KeyRotation:     90 * 24 * time.Hour,
			KeyPublishAhead: 24 * time.Hour,
		},
		Passwords:       Passwords{MinLength: 12},
		Keys:            Keys{MaxExpiry: 366 * 24 * time.Hour},
		GC:              GC{Interval: 24 * time.Hour, Grace: 24 * time.Hour},
		Audit:           Audit{Pulls: true, Retention: 365 * 24 * time.Hour},
		ShutdownTimeout: 30 * time.Second,
	}
}
