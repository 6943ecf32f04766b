package access

// An Outside is what a provider of sign-ins, which is not ours, says of a person.
type Outside struct {
	Provider string // its name in the configuration: "corp"
	// Issuer and Subject say who vouches, and for whom. They alone tell one person
	// from another: names and e-mail addresses are given to others again.
	Issuer, Subject string
	Name            string   // what the person is called there; anything, or ""
	Groups          []string // what their groups are called there
	// Renewal is what the provider can be asked with again, or zero.
	Renewal Secret
}
